"""Cookies: only ours are read, and a form of another site is no form of ours."""

import re
import time
from typing import Any

import pytest
from litestar import Request

from mercato.gateway.cookies import Cookies, FormRefused
from mercato.kernel import clock

SECURE = Cookies("s" * 40, "https://shop.example/")
PLAIN = Cookies("s" * 40, "http://127.0.0.1:8080")


def asking(*cookies: str, **headers: str) -> Request[Any, Any, Any]:
    """A request of a browser that keeps `cookies` (as Set-Cookie gave them)."""
    kept = "; ".join(["theirs=1", *(cookie.partition(";")[0] for cookie in cookies)])
    given = {"cookie": kept} | {name.replace("_", "-"): value for name, value in headers.items()}
    told = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    scope: Any = {"type": "http", "headers": told, "path": "/", "query_string": b""}
    return Request(scope)


class Later:
    """The time in an hour and a half."""

    def time(self) -> float:
        return time.time() + 5400

    def monotonic(self) -> float:
        return time.monotonic() + 5400


def test_a_cookie_is_read_by_those_who_wrote_it_and_until_its_end() -> None:
    cookie = SECURE.write("login", "ada é; =", max_age_s=3600)
    assert SECURE.read(asking(cookie), "login") == "ada é; ="
    assert SECURE.read(asking(cookie), "other") is None
    assert SECURE.read(asking(), "login") is None
    assert Cookies("t" * 40, "https://shop.example").read(asking(cookie), "login") is None
    with clock.driven_by(Later()):
        assert SECURE.read(asking(cookie), "login") is None


def test_a_cookie_that_was_written_to_is_no_cookie() -> None:
    cookie = SECURE.write("login", "ada", max_age_s=60).partition(";")[0]
    name, _, signed = cookie.partition("=")
    value, ends, signature = signed.split(".")
    late = str(int(ends) + 1000)
    for forged in (
        f"{value}.{late}.{signature}", f"{value[:-1]}B.{ends}.{signature}", f"{value}.{ends}.",
        f"{value}.{ends}", value, "", "..", f"é.{ends}.{signature}", f"{value}.x.{signature}",
        f"{value}.{ends}.é", "a" * 5000,
    ):  # fmt: skip
        assert SECURE.read(asking(f"{name}={forged}"), "login") is None, forged
    assert SECURE.read(asking(f"{name}=nonsense", cookie), "login") == "ada"
    other = cookie.replace("login", "other")
    assert SECURE.read(asking(other), "other") is None, "a signature serves for another name"


def test_cookies_have_every_rule_that_the_scheme_allows() -> None:
    assert re.fullmatch(
        r"__Host-login=\S+; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure",
        SECURE.write("login", "ada", max_age_s=60),
    )
    assert re.fullmatch(
        r"login=\S+; Max-Age=60; Path=/; HttpOnly; SameSite=Lax",
        PLAIN.write("login", "ada", max_age_s=60),
    )
    assert SECURE.clear("login").startswith("__Host-login=; Max-Age=0; Path=/; ")


def test_a_form_of_the_same_browser_and_purpose_is_taken() -> None:
    first = SECURE.form_token(asking(), "consent", "ada")
    again = SECURE.form_token(asking(first.cookie), "consent", "ada")
    assert again.value == first.value, "a second tab must not spoil the first one's form"
    SECURE.check_form(asking(first.cookie), first.value, "consent", "ada")
    own = {"origin": "https://SHOP.example", "sec_fetch_site": "same-origin"}
    SECURE.check_form(asking(again.cookie, **own), again.value, "consent", "ada")


def test_any_other_form_is_refused() -> None:
    form, other = SECURE.form_token(asking(), "consent", "ada"), SECURE.form_token(asking(), "x")
    wrong = [
        (asking(), form.value, "consent", "ada"),
        (asking(other.cookie), form.value, "consent", "ada"),
        (asking(form.cookie), other.value, "consent", "ada"),
        (asking(form.cookie), "", "consent", "ada"),
        (asking(form.cookie), "é\ud800", "consent", "ada"),
        (asking(form.cookie), form.value, "login", "ada"),
        (asking(form.cookie), form.value, "consent", "bob"),
        (asking(form.cookie, origin="https://evil.example"), form.value, "consent", "ada"),
        (asking(form.cookie, origin="null"), form.value, "consent", "ada"),
        (asking(form.cookie, sec_fetch_site="cross-site"), form.value, "consent", "ada"),
        (asking(form.cookie, sec_fetch_site="same-site"), form.value, "consent", "ada"),
    ]
    for each in wrong:
        with pytest.raises(FormRefused):
            SECURE.check_form(*each)
