"""A token got by OAuth opens what its scopes say, and nothing else that its role could do."""

import pytest

from mercato.gateway import email, inventory, orders, users
from mercato.gateway.operation import Operation, Who, operations
from mercato.gateway.scope import InsufficientScope, within
from mercato.kernel.identity import Caller, new_id
from mercato.kernel.scopes import CLIENT_SCOPES, SCOPES

RESOURCES = (email.Emails, inventory.Inventory, orders.Orders, users.Users)
GUARDED = [
    one for kind in RESOURCES for one in operations(kind.__new__(kind)) if one.who != Who.ANYONE
]


def token(role: str, *scopes: str) -> Caller:
    return Caller(new_id(), role, "", frozenset(scopes))  # type: ignore[arg-type]


@pytest.mark.parametrize("one", GUARDED, ids=lambda one: f"{one.method} {one.path}")
def test_every_scope_but_the_one_that_is_asked_for_is_refused(one: Operation) -> None:
    reads = one.method == "GET"
    for scope in SCOPES:
        who = token("admin", scope)
        if scope == one.scope:
            assert within(who, one.scope, reads=reads) == who
        else:
            with pytest.raises(InsufficientScope):
                within(who, one.scope, reads=reads)


@pytest.mark.parametrize("one", GUARDED, ids=lambda one: f"{one.method} {one.path}")
def test_a_client_in_its_own_name_only_reads(one: Operation) -> None:
    client = token("client", *SCOPES)
    reads = one.method == "GET"
    if reads and one.scope in CLIENT_SCOPES:
        acting = within(client, one.scope, reads=reads)
        assert (acting.id, acting.role) == (client.id, "admin")
    else:
        with pytest.raises(InsufficientScope):
            within(client, one.scope, reads=reads)


def test_a_client_without_scopes_reads_nothing() -> None:
    with pytest.raises(InsufficientScope):
        within(token("client"), "orders:read", reads=True)


def test_a_token_of_our_own_front_end_needs_no_scope() -> None:
    who = token("customer")
    assert within(who, "", reads=False) == who


def test_a_refusal_names_the_scope_that_is_missing() -> None:
    with pytest.raises(InsufficientScope) as refusal:
        within(token("customer", "openid"), "orders:read", reads=True)
    assert 'error="insufficient_scope", scope="orders:read"' in refusal.value.challenge


def test_every_declared_scope_is_one_that_users_are_asked_for() -> None:
    assert {one.scope for one in GUARDED} - {""} <= set(SCOPES)
    assert {one.scope for one in GUARDED} >= {"", "orders:read", "orders:write", "catalogue:write"}
