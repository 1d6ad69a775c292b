"""Security events in the database and over the wire: added, found, and never changed."""

import ast
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from pymongo.errors import PyMongoError

from mercato.embedded.supervisor import Platform
from mercato.kernel import clock
from mercato.kernel.identity import Caller, new_id
from mercato.pb import security_pb2 as pb
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform.mongo import Store
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tokens import Tokens
from mercato.user.model.trail import KINDS, Kind, SecurityEvent
from mercato.user.repository import trail as source
from mercato.user.repository.trail import SECURITY_EVENTS, MongoEvents
from mercato.user.usecase.trail import Search
from tests.user.conftest import ADMIN


def event(kind: Kind = "admin.action", user_id: str = "") -> SecurityEvent:
    return SecurityEvent.new(kind, clock.now(), user_id=user_id, detail={"route": "/api/x"})


async def test_events_are_found_newest_first_and_page_by_page(store: Store) -> None:
    events, ada = MongoEvents(store), new_id()
    added = [event("login.failed" if n % 2 else "lockout", ada) for n in range(10)]
    await events.add(added)
    await events.add(added[:3])  # told twice, kept once
    found = await events.find(Search(user_id=ada))
    assert found == added[::-1]
    page = await events.find(Search(user_id=ada, before=found[3].id, limit=4))
    assert page == found[4:8]
    assert len(await events.find(Search(user_id=ada, kind="lockout"))) == 5
    assert await events.find(Search(user_id=ada, since=clock.now() + timedelta(hours=1))) == []
    assert len(await events.find(Search(user_id=ada, since=added[0].at - timedelta(1)))) == 10


async def test_the_database_refuses_an_event_that_is_none(store: Store) -> None:
    for wrong in ({"kind": "lunch"}, {"count": 0}, {"password": "x"}, {"detail": {"a": 1}}):
        document = {
            "at": clock.now(), "kind": "lockout", "user_id": "", "actor": "", "address": "",
            "detail": {}, "count": 1,
        }  # fmt: skip
        with pytest.raises(PyMongoError, match="failed validation"):
            await store[SECURITY_EVENTS].insert_one(document | wrong)


def test_the_code_can_add_and_find_events_and_nothing_else() -> None:
    tree = ast.parse(Path(source.__file__).read_text())
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "self._events"
    }
    assert called == {"insert_many", "find"}


def test_the_contract_knows_every_kind() -> None:
    rules = pb.DESCRIPTOR.serialized_pb
    assert all(kind.encode() in rules for kind in KINDS)


async def test_services_tell_events_and_only_an_admin_reads_them(
    user_platform: Platform, tokens: Tokens
) -> None:
    told = pb.SecurityEvent(
        id=new_id(), at=clock.rfc3339(clock.now()), kind="permission.refused", actor="customer:x",
        detail={"route": "/api/orders", "token": "canary-token"}, count=7,
    )  # fmt: skip
    gateway = Channels(tokens, "gateway")
    async with gateway.open(user_platform.environment["USER_SERVICE"]) as way:
        trail = SecurityServiceStub(way)
        for _ in range(2):
            await gateway.call(trail.RecordEvents, pb.RecordEventsRequest(events=[told]))
        wanted = pb.ListEventsRequest(kind="permission.refused", limit=1)
        found = await gateway.call(trail.ListEvents, wanted, speaks_for=ADMIN)
        assert found.events[0].id == told.id
        assert found.events[0].count == 7
        assert found.events[0].detail == {"route": "/api/orders", "token": "***"}
        customer = Caller(new_id(), "customer")
        for method, request, who in (
            (trail.ListEvents, wanted, customer), (trail.ListEvents, wanted, None),
            (trail.RecordEvents, pb.RecordEventsRequest(), customer),
            (trail.RecordEvents, pb.RecordEventsRequest(), ADMIN),
        ):  # fmt: skip
            with pytest.raises(Refused) as refused:
                await gateway.call(method, request, speaks_for=who)
            assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
        operator = Channels(tokens, "cli")
        rotated = pb.SecurityEvent(
            id=new_id(), at=clock.rfc3339(clock.now()), kind="key.rotated", count=1
        )
        await operator.call(trail.RecordEvents, pb.RecordEventsRequest(events=[rotated]))
        assert (await operator.call(trail.ListEvents, wanted)).events[0].id == told.id
