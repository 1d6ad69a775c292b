"""Every refusal is a problem document: one shape, all bad fields, no secrets."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx2 as httpx
import pytest

from mercato.kernel.errors import Exhausted, Unavailable
from mercato.kernel.identity import new_id
from mercato.platform.rpc.refusals import Refused
from tests.gateway.conftest import Shop

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}


def problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, str]:
    """Returns the pointers of the answer, which must be a problem, with what is said of each."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == MEMBERS
    assert told["status"] == status
    assert told["type"] == f"/docs#problem-{status}"
    assert told["request_id"] == answer.headers["x-request-id"]
    assert code in (None, told["code"])
    return {each["pointer"]: each["detail"] for each in told["errors"]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/api/users/", 404),
        ("PATCH", "/api/orders", 405),
        ("DELETE", "/api/email", 405),
        ("POST", "/livez", 405),
    ],
)
async def test_what_no_route_takes_is_a_problem(
    shop: Shop, method: str, path: str, status: int
) -> None:
    answer = await shop.nobody.request(method, path)
    problem(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_missing_and_a_bad_token_are_401_with_the_scheme_to_use(shop: Shop) -> None:
    for header in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic YTpi"}):
        answer = await shop.nobody.get("/api/users/me", headers=header)
        problem(answer, 401, "unauthenticated")
        bad = ', error="invalid_token"' if header.get("authorization", "")[:6] == "Bearer" else ""
        assert answer.headers["www-authenticate"] == f'Bearer realm="mercato"{bad}'


async def test_a_services_own_token_opens_no_door_to_the_public(shop: Shop) -> None:
    header = {"authorization": f"Bearer {shop.tokens.service('order')}"}
    problem(await shop.nobody.get("/api/orders", headers=header), 401)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b'{"email": "a@b.cd", "email": "b@b.cd"}', "same name"),
        (b'{"email": "\xff"}', "UTF-8"),
        (b'{"email": "\\ud800"}', "no JSON text may"),
        (b'{"price": NaN}', "NaN"),
        (b'{"price": 1e99999999999999999999}', "exponent"),
        (b"[" * 100_000 + b"]" * 100_000, "deeply"),
    ],
)
async def test_a_body_that_is_no_json_is_400(shop: Shop, body: bytes, said: str) -> None:
    kind = {"content-type": "application/json"}
    answer = await shop.nobody.post("/api/users/register", content=body, headers=kind)
    problem(answer, 400, "malformed")
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("body", ["[]", '"text"', "3", "null", "true"])
async def test_json_that_is_no_object_is_422(shop: Shop, body: str) -> None:
    kind = {"content-type": "application/json"}
    answer = await shop.nobody.post("/api/users/register", content=body, headers=kind)
    assert list(problem(answer, 422)) == [""]


async def test_a_body_of_another_type_is_415(shop: Shop) -> None:
    types = ["", "text/plain", "application/xml", "application/json; charset=latin-1"]
    for kind in types:
        header = {"content-type": kind} if kind else {}
        answer = await shop.nobody.post("/api/users/register", content=b"{}", headers=header)
        problem(answer, 415, "unsupported-media-type")
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    problem(await shop.nobody.post("/api/users/register", content=b"{}", headers=packed), 415)
    for kind in ("application/json; charset=UTF-8", "application/merge-patch+json"):
        header = {"content-type": kind}
        answer = await shop.nobody.post("/api/users/register", content=b"{}", headers=header)
        problem(answer, 422)


async def test_a_body_over_the_limit_is_413(shop: Shop) -> None:
    kind = {"content-type": "application/json"}
    large = b" " * (256 * 1024) + b"{}"
    problem(await shop.nobody.post("/api/users/register", content=large, headers=kind), 413)
    fits = b" " * (256 * 1024 - 2) + b"{}"
    problem(await shop.nobody.post("/api/users/register", content=fits, headers=kind), 422)

    async def pieces() -> AsyncIterator[bytes]:  # without a content-length
        for _ in range(300):
            yield b" " * 1024

    problem(await shop.nobody.post("/api/users/register", content=pieces(), headers=kind), 413)


async def test_all_bad_fields_are_named_at_once(shop: Shop) -> None:
    body = {
        "items": [
            {"product_id": "zz", "quantity": 0},
            {"product_id": new_id(), "quantity": "2", "colour": "red"},
            {"quantity": 10_001},
            7,
        ],
        "total": "much",
        "coupon": "X",
        "a/b~c": 1,
    }
    answer = await shop.ada.post("/api/orders", json=body, headers={"idempotency-key": "k" * 256})
    assert problem(answer, 422, "invalid") == {
        "/header/idempotency-key": "must have at most 255 characters",
        "/items/0/product_id": "must be 24 hex digits",
        "/items/0/quantity": "must be at least 1",
        "/items/1/quantity": "must be an integer, not a string",
        "/items/1/colour": "is not known here",
        "/items/2/product_id": "is missing",
        "/items/2/quantity": "must be at most 10000",
        "/items/3": "must be an object, not an integer",
        "/total": "must be an amount, such as 19.99",
        "/coupon": "is not known here",
        "/a~1b~0c": "is not known here",
    }


async def test_bad_parameters_are_named_at_once_too(shop: Shop) -> None:
    query = "?limit=0&page=x&sort=colour&size=3&category=a&category=b"
    assert problem(await shop.nobody.get(f"/api/inventory{query}"), 422) == {
        "/query/category": "is given more than once",
        "/query/limit": "must be at least 1",
        "/query/page": "must be an integer",
        "/query/size": "is not known here",
        "/query/sort": "must be one of name, -name, price, -price, stock, -stock, created_at, "
        "-created_at, updated_at, -updated_at",
    }
    for bad in ("xyz", "0" * 25, new_id() + "%0A", "%00"):
        assert "/path/id" in problem(await shop.nobody.get(f"/api/inventory/{bad}"), 422)
    problem(await shop.nobody.get("/api/inventory?q=%ff"), 422)


@pytest.mark.parametrize("page", ["1.0", "1e2", "01", "+1", "%201", "", "\u0661", "1_0"])
async def test_an_integer_in_a_query_is_written_as_one(shop: Shop, page: str) -> None:
    answer = await shop.nobody.get(f"/api/inventory?page={page}")
    assert problem(answer, 422) == {"/query/page": "must be an integer"}


async def test_an_integer_of_any_length_is_told_its_bound(shop: Shop) -> None:
    answer = await shop.nobody.get(f"/api/inventory?page={'9' * 5000}")
    assert problem(answer, 422) == {"/query/page": "must be at most 1000000"}


@pytest.mark.parametrize("header", ["idempotency-key", "if-match"])
async def test_a_header_that_means_one_thing_is_given_once(shop: Shop, header: str) -> None:
    mug = shop.services.inventory.add(name="Mug")
    url = f"/api/inventory/{mug.id}" + ("" if header == "if-match" else "/stock")
    method = "DELETE" if header == "if-match" else "POST"
    body = None if method == "DELETE" else {"delta": 1, "reason": "found"}
    twice = [(header, '"1"'), (header.title(), '"1"')]
    answer = await shop.admin.request(method, url, json=body, headers=twice)
    assert problem(answer, 422) == {f"/header/{header}": "is given more than once"}


async def test_a_route_without_query_parameters_refuses_any(shop: Shop) -> None:
    mug = shop.services.inventory.add(name="Mug")
    url = f"/api/inventory/{mug.id}"
    answers = [
        await shop.ada.get("/api/sessions?fields=name"),
        await shop.ada.delete("/api/sessions?fields=name"),
        await shop.ada.get("/oauth/userinfo?fields=name"),
        await shop.nobody.get(f"{url}?fields=name"),
        await shop.admin.patch(f"{url}?fields=name", json={"stock": 3}),
    ]
    for answer in answers:
        assert problem(answer, 422) == {"/query/fields": "is not known here"}
    assert (await shop.nobody.get("/livez?fields=name")).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/userinfo", "/api/users/verify-email/resend"])
async def test_a_post_that_takes_no_body_refuses_one(shop: Shop, path: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:  # without a content-length
        yield b"access_token=x"

    for answer in (
        await shop.ada.post(path, data={"access_token": "x"}),
        await shop.ada.post(path, json={}),
        await shop.ada.post(path, content=pieces()),
    ):
        assert problem(answer, 422, "invalid") == {"": "must be empty"}
    problem(await shop.nobody.post(path, data={"access_token": "x"}), 401, "unauthenticated")


async def test_a_path_and_a_body_are_read_together(shop: Shop) -> None:
    answer = await shop.admin.patch("/api/inventory/7", json={"stock": -1})
    assert set(problem(answer, 422)) == {"/path/id", "/stock"}


async def test_one_of_email_and_username_signs_in(shop: Shop) -> None:
    for given in ({}, {"email": "a@b.cd", "username": "ada"}):
        body = {"password": "p", **given}
        answer = await shop.nobody.post("/api/users/authenticate", json=body)
        assert problem(answer, 422) == {"": "must have either `email` or `username`"}


@pytest.mark.parametrize(
    ("method", "path", "body", "pointers"),
    [
        ("POST", "/api/email", {"to_email": "x", "subject": "a\nb"},
         "/to_email /html_body /subject"),
        ("POST", "/api/email", {"to_email": f"{'a.' * 40}a@shop.example", "subject": "=?"},
         "/html_body /to_email /subject"),
        ("POST", "/api/users/register", {"email": "x", "password": "password"}, "/email /password"),
        ("POST", "/api/users/register", {"email": "anna@x.example", "password": "anna1234", "a": 1},
         "/a /password"),
        ("PATCH", "/api/users/me", {"email": "x", "password": "iloveyou"}, "/email /password"),
        ("PATCH", "/api/users/x", {"password": "iloveyou"}, "/path/id /password"),
        ("POST", "/api/users/password/reset", {"password": "iloveyou"}, "/token /password"),
        ("POST", "/api/users/register", {"email": "x", "password": "short"}, "/email /password"),
        ("POST", "/api/users/authenticate", {"password": 7}, "/password "),
        ("POST", "/api/users/authenticate", {"password": 7, "email": 7}, "/password /email"),
    ],
)  # fmt: skip
async def test_rules_that_only_a_service_keeps_are_told_beside_the_others(
    shop: Shop, method: str, path: str, body: dict[str, Any], pointers: str
) -> None:
    answer = await shop.admin.request(method, path, json=body)
    assert set(problem(answer, 422, "invalid")) == set(pointers.split(" "))


async def test_a_services_refusal_keeps_its_name_and_its_fields(shop: Shop) -> None:
    body: dict[str, Any] = {"items": [{"product_id": new_id(), "quantity": 1}]}
    answer = await shop.ada.post("/api/orders", json=body)
    assert problem(answer, 422) == {"/items/0/product_id": "is no product"}
    mug = shop.services.inventory.add(name="Mug")
    body["items"][0]["product_id"] = mug.id
    body["total"] = 20
    answer = await shop.ada.post("/api/orders", json=body)
    assert problem(answer, 409, "total-mismatch") == {"/total": "is 19.99, not 20.00"}


async def test_a_service_that_is_away_is_503_and_one_that_has_enough_429(shop: Shop) -> None:
    failures = shop.services.users.failures
    stopped = Refused(grpc.StatusCode.CANCELLED, "cancelled", "a copy stops", ())
    away = Unavailable("the database is away")
    for failure, status in ((away, 503), (stopped, 503), (Exhausted("busy"), 429)):
        failures[:] = [failure] * 9
        answer = await shop.ada.get("/api/users/me")
        problem(answer, status)
        assert int(answer.headers["retry-after"]) > 0
        failures.clear()


async def test_a_fault_is_500_without_its_text(shop: Shop) -> None:
    shop.services.users.failures.append(RuntimeError("mongodb://root:secret@db/"))
    answer = await shop.ada.get("/api/users/me")
    problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
