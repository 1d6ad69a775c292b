"""The contract is told in full, and by this host alone."""

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import schemathesis

from mercato.gateway.problems import MEANING
from tests.gateway.conftest import Shop
from tests.gateway.test_orders import cart

ROOT = Path(__file__).parents[2]
# `POST /path {field, field}`, as the pages of documentation write it; POST may be left out.
BODY = re.compile(r"`(?:([A-Z]+) )?(/api/\S+) \{([a-z_, ]+)\}`")

# What clients rely on since the first version.
CONTRACT = {
    "/api/users/register", "/api/users/authenticate", "/api/users/{id}", "/api/inventory",
    "/api/inventory/{id}", "/api/inventory/{id}/stock", "/api/orders", "/api/orders/{id}",
    "/api/orders/{id}/history", "/api/orders/{id}/status", "/api/email", "/livez", "/readyz",
    "/metrics",
}  # fmt: skip


async def test_the_document_is_openapi_and_has_every_route(shop: Shop) -> None:
    told = (await shop.nobody.get("/openapi.json")).json()
    schemathesis.openapi.from_dict(told).validate()
    assert told["openapi"].startswith("3.1")
    assert set(told["paths"]) >= CONTRACT
    assert "(?!" not in str(told)


async def test_every_refusal_is_declared_as_a_problem(shop: Shop) -> None:
    told = (await shop.nobody.get("/openapi.json")).json()
    for path, methods in told["paths"].items():
        for one in methods.values():
            statuses = set(one["responses"])
            if path.startswith("/api/"):
                assert {"429", "500", "503"} <= statuses
            if "security" in one:
                assert "401" in statuses
            if "requestBody" in one:
                assert {"400", "408", "413", "415", "422"} <= statuses
    for answer in told["components"]["responses"].values():
        assert set(answer["content"]) == {"application/problem+json"}


async def test_answers_are_as_the_document_says(shop: Shop) -> None:
    told = (await shop.nobody.get("/openapi.json")).json()
    order = (await shop.ada.post("/api/orders", json=cart(shop))).json()
    product = (await shop.nobody.get(f"/api/inventory/{order['items'][0]['product_id']}")).json()
    profile = (await shop.ada.get("/api/users/me")).json()
    refusal = (await shop.ada.post("/api/orders", json={})).json()
    for name, value in (
        ("OrderWithMessage", order), ("Product", product), ("Profile", profile),
        ("Problem", refusal),
    ):  # fmt: skip
        schema = {"$ref": f"#/components/schemas/{name}", "components": told["components"]}
        jsonschema_rs.validate(schema, value)


async def test_every_body_that_the_pages_name_is_one_that_its_route_takes(shop: Shop) -> None:
    told = (await shop.nobody.get("/openapi.json")).json()
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = BODY.findall(" ".join(" ".join(page.read_text().split()) for page in pages))
    assert len(named) >= 7
    for method, path, fields in named:
        content = told["paths"][path][(method or "POST").lower()]["requestBody"]["content"]
        schema = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        known = told["components"]["schemas"][schema]
        given = set(fields.split(", "))
        assert set(known["required"]) <= given <= set(known["properties"]), (path, fields)


async def test_the_page_needs_no_other_host_and_lets_no_other_script_run(shop: Shop) -> None:
    answer = await shop.nobody.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " on" + "click=" not in answer.text
    assert " style=" not in answer.text


async def test_the_page_shows_every_route_and_explains_every_problem(shop: Shop) -> None:
    page = (await shop.nobody.get("/docs")).text
    told: dict[str, Any] = (await shop.nobody.get("/openapi.json")).json()
    for methods in told["paths"].values():
        for one in methods.values():
            assert f'id="{one["operationId"]}"' in page
    for status in MEANING:
        assert f'id="problem-{status}"' in page
