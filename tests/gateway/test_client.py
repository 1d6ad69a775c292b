"""The client's address: as far as the proxies are trusted, and no further."""

import pytest

from mercato.gateway.client import Header, Proxies
from mercato.gateway.settings import GatewaySettings
from mercato.platform.settings import SettingsError, load

OURS = "10.0.0.0/8, 2001:db8:ff::/48"


def seen(peer: str, *told: str, trusted: str = OURS, header: Header = "x-forwarded-for") -> str:
    headers = [(header.encode(), each.encode("latin-1")) for each in told]
    return Proxies(trusted, header).client({"client": (peer, 1), "headers": headers}).address


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert seen("10.0.0.1", "192.0.2.7", trusted="") == "10.0.0.1"


def test_a_stranger_is_not_believed() -> None:
    assert seen("198.51.100.9", "192.0.2.7") == "198.51.100.9"


def test_the_header_is_read_from_the_right_and_what_clients_invent_is_left_out() -> None:
    assert seen("10.0.0.1", "192.0.2.7") == "192.0.2.7"
    assert seen("10.0.0.1", "6.6.6.6, 192.0.2.7, 10.0.0.2") == "192.0.2.7"
    assert seen("10.0.0.1", "6.6.6.6", "192.0.2.7") == "192.0.2.7"
    assert seen("10.0.0.1", "10.0.0.3, 10.0.0.2") == "10.0.0.3"
    assert seen("10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize("junk", ["unknown", "", " , ", "1.2.3", "x" * 100_000, "é, \x00"])
def test_what_is_no_address_ends_the_reading(junk: str) -> None:
    assert seen("10.0.0.1", junk) == "10.0.0.1"
    assert seen("10.0.0.1", f"6.6.6.6, {junk}, 10.0.0.2") == "10.0.0.2"


def test_ports_brackets_and_ipv6_are_understood() -> None:
    assert seen("10.0.0.1", "192.0.2.7:8443") == "192.0.2.7"
    assert seen("10.0.0.1", "[2001:db8::7]:8443") == "2001:db8::7"
    assert seen("::ffff:10.0.0.1", "2001:db8::7") == "2001:db8::7"
    assert seen("2001:db8:ff::1", "192.0.2.7") == "192.0.2.7"


def test_the_standard_header_is_read_where_it_is_the_one_that_the_proxies_write() -> None:
    told = 'for=6.6.6.6;proto=http, For="[2001:db8::7]:4711";by=10.0.0.9, for=10.0.0.2'
    assert seen("10.0.0.1", told, header="forwarded") == "2001:db8::7"
    assert seen("10.0.0.1", "for=_hidden", header="forwarded") == "10.0.0.1"
    assert seen("10.0.0.1", "by=6.6.6.6", header="forwarded") == "10.0.0.1"


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "everybody", "10.0.0.0/8,", "10.0.0.0/33"])
def test_a_wrong_list_of_proxies_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        load(GatewaySettings, {"JWT_SECRET": "s" * 32, "TRUSTED_PROXIES": wrong})
