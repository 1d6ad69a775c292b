"""The table of rights in secure mode names what the services really have, and nothing twice."""

import importlib
from typing import Any

import pytest

from mercato import events
from mercato.embedded.secure.rights import OPERATOR, RIGHTS, mongo_privileges, nats_permissions
from mercato.kernel.identity import SERVICES
from mercato.platform.mongo import Shape

SHARED = {"dead_letters"}
STORES = ("user", "inventory", "order", "mailer")


def collections_of(service: str) -> set[str]:
    """Returns the collections that a service brings up to date when it starts."""
    found = vars(importlib.import_module(f"mercato.{service}.main")).values()
    shapes = [each for each in found if isinstance(each, dict)]
    return {name for each in shapes for name, shape in each.items() if isinstance(shape, Shape)}


def owned(service: str) -> set[str]:
    return {*RIGHTS[service].owns, *RIGHTS[service].adds_to}


@pytest.mark.parametrize("service", STORES)
def test_a_service_may_use_its_own_collections(service: str) -> None:
    assert collections_of(service)
    missing = collections_of(service) - owned(service)
    assert not missing, f"name them in embedded/secure/rights.py: {sorted(missing)}"


def test_no_collection_belongs_to_two_services() -> None:
    everything = [name for service in STORES for name in owned(service) - SHARED]
    assert len(everything) == len(set(everything))
    for service in RIGHTS:
        others = {name for other in STORES if other != service for name in owned(other)} - SHARED
        for each in mongo_privileges(service, "shop"):
            if each["resource"].get("collection") in others - set(RIGHTS[service].reads):
                pytest.fail(f"{service}: {each}")


def test_the_audit_only_reads() -> None:
    actions = {a for each in mongo_privileges("audit", "shop") for a in each["actions"]}
    assert actions == {"find", "listIndexes", "listCollections", "getParameter"}


def test_security_events_can_be_added_and_not_be_changed() -> None:
    (events_of,) = (
        each["actions"] for each in mongo_privileges("user", "shop")
        if each["resource"].get("collection") == "security_events"
    )  # fmt: skip
    assert "insert" in events_of
    assert not {"update", "remove", "dropIndex", "dropCollection"} & set(events_of)


def test_every_fact_has_exactly_one_service_that_may_tell_it() -> None:
    facts = [each for each in vars(events).values() if isinstance(each, type)]
    subjects = {s for each in facts if isinstance(s := getattr(each, "subject", None), str) and s}
    assert len(subjects) > 5
    for subject in subjects:
        by = [n for n, r in RIGHTS.items() for told in r.tells if _covers(told, subject)]
        assert len(by) == 1, (subject, by)


def test_nobody_but_the_operator_may_change_the_stream() -> None:
    for name in RIGHTS:
        publish: dict[str, Any] = nats_permissions(name)["publish"]
        for subject in publish.get("allow", ()):
            assert not subject.startswith("$JS.API.STREAM") or ".CREATE." in subject
            assert ">" not in subject.removesuffix(".>")
        assert nats_permissions(name)["subscribe"]["allow"][0] == f"_INBOX_{name}.>"
    assert {*RIGHTS, OPERATOR} == SERVICES


def _covers(pattern: str, subject: str) -> bool:
    return subject == pattern or (
        pattern.endswith(".>") and subject.startswith(pattern.removesuffix(">"))
    )
