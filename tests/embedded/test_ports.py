"""Ports: what was given to one is given to nobody else, also before a server listens there."""

import random
import socket

import pytest

from mercato.embedded.errors import PlatformError
from mercato.embedded.ports import LOOPBACK, allot, any_free, held


def test_a_held_port_is_given_to_nobody_and_a_server_may_listen_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = any_free()
    monkeypatch.setattr(random, "randint", lambda *_: port)
    with held([port]):
        with pytest.raises(PlatformError, match="no free port"):
            any_free()
        socket.create_server((LOOPBACK, port)).close()
    assert any_free() == port


def test_a_port_keeps_its_use_unless_it_is_asked_for_another() -> None:
    first, second = any_free(), any_free()
    before = {"redis": first, "nats": second}
    ports = allot(["redis", "nats", "front"], before, {"front": first})
    assert (ports["nats"], ports["front"]) == (second, first)
    assert ports["redis"] not in (first, second)
