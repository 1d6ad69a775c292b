"""What every answer has: an id, safe headers, a count; and the manners of HTTP."""

import pytest

from mercato.kernel.identity import new_id
from tests.gateway.conftest import Shop
from tests.gateway.test_refusals import problem


async def test_a_request_id_is_echoed_or_made(shop: Shop) -> None:
    answer = await shop.nobody.get("/livez", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    for bad in ("", "two words", "x" * 129):
        answer = await shop.nobody.get("/livez", headers={"x-request-id": bad})
        assert answer.headers["x-request-id"] not in ("", bad)
    answer = await shop.nobody.get("/api/nothing", headers={"x-request-id": "mine-2"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine-2"


async def test_every_answer_has_safe_headers_and_tells_no_version(shop: Shop) -> None:
    for path in ("/livez", "/docs", "/api/nothing", "/api/users/me"):
        headers = (await shop.nobody.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "'none'" in headers["content-security-policy"]
        assert headers["server"] == "mercato"
        assert "cache-control" in headers


async def test_head_is_get_without_the_body(shop: Shop) -> None:
    url = f"/api/inventory/{shop.services.inventory.add(name='Mug').id}"
    got, head = await shop.nobody.get(url), await shop.nobody.head(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == got.headers[name]
    assert (await shop.nobody.head(f"/api/inventory/{new_id()}")).status_code == 404


async def test_options_tells_the_methods(shop: Shop) -> None:
    answer = await shop.nobody.options("/api/orders")
    assert answer.status_code == 204
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}


@pytest.mark.parametrize("path", ["/api/orders", "/api/inventory/1", "/livez", "/docs", "/"])
async def test_a_405_tells_the_methods_as_options_does(shop: Shop, path: str) -> None:
    told = await shop.nobody.options(path)
    refused = await shop.nobody.request("REPORT", path)
    assert (told.status_code, refused.status_code) == (204, 405)
    assert refused.headers["allow"] == told.headers["allow"]
    assert {"GET", "HEAD", "OPTIONS"} <= set(told.headers["allow"].split(", "))


async def test_metrics_count_by_route_and_never_by_path(shop: Shop) -> None:
    product_id = new_id()
    await shop.nobody.get(f"/api/inventory/{product_id}")
    await shop.nobody.get("/api/nothing/at/all")
    text = (await shop.nobody.get("/metrics")).text
    line = 'mercato_http_requests_total{method="GET",route="/api/inventory/{id}",status="404"}'
    assert line in text
    assert 'route="unknown"' in text
    assert product_id not in text
    assert "/api/nothing" not in text


async def test_a_path_with_a_slash_too_many_is_the_same_path(shop: Shop) -> None:
    assert (await shop.nobody.get("/api/inventory/")).status_code == 200
    problem(await shop.nobody.get("/api//nothing"), 404)


async def test_the_front_page_leads_to_the_documentation(shop: Shop) -> None:
    answer = await shop.nobody.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
