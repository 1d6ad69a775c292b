"""Addresses in one form each, and what counts as one client."""

import pytest

from mercato.kernel.client import AGENT_CHARS_MAX, Client, canonical, printable


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", ""),
        ("192.0.2.256", ""),
        ("", ""),
    ],
)
def test_an_address_has_one_form(written: str, meant: str) -> None:
    assert canonical(written) == meant


def test_an_ipv6_household_is_one_client_and_an_ipv4_address_is_one() -> None:
    here, there, other = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"
    assert Client(here).network == Client(there).network == "2001:db8:1:2::/64"
    assert Client(other).network != Client(here).network
    assert Client("192.0.2.1").network == "192.0.2.1"
    assert Client().network == ""


def test_what_a_client_calls_itself_can_be_shown_anywhere() -> None:
    assert printable("curl/8\r\nX-Evil: 1\x1b[0m é") == "curl/8?X-Evil: 1?[0m ?"
    assert len(printable("x" * 10_000)) == AGENT_CHARS_MAX
