"""The OpenAPI 3.1 document, made from what the routes declare."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

import mercato
from mercato.gateway.limits import class_of
from mercato.gateway.operation import Operation, Who, operations
from mercato.gateway.problems import MEANING, MEDIA_TYPE, Problem, title
from mercato.gateway.shapes import END, MAILABLE, Parsed

ABOUT: Final = """\
Everything that Mercato can do, over HTTP and JSON.

- Sign in with `POST /api/users/authenticate` and send the token as `Authorization: Bearer <token>`.
- Ids are 24 hex digits, times are RFC 3339 in UTC, lists are never null.
- Money is an exact decimal: send `19.99` or `"19.99"`; more digits than the currency has are
  refused, never rounded.
- Fields and query parameters that are not known are refused.
- Every refusal is `application/problem+json` (RFC 9457) and names all bad fields at once, each by
  a JSON pointer into the body; what is wrong with a parameter is told under `/path/<name>`,
  `/query/<name>` or `/header/<name>`. Only what is no HTTP at all, has a method unknown
  to it or names no host is answered 400 in plain text.
- A request has 10 seconds for its headers, or the connection is closed, and 10 more for its body,
  or it is 408.
- `X-Request-ID` and `traceparent` are carried through all services; the answer has the former.
"""
_IN: Final = {"path": "path", "query": "query", "headers": "header"}
_REFERENCE: Final = "#/components/schemas/{name}"


def document(resources: Sequence[object]) -> dict[str, Any]:
    """Returns the document that describes the routes of `resources`."""
    declared = [(type(each), one) for each in resources for one in operations(each)]
    kinds = [kind for _, one in declared for kind in one.takes.values() if _is_struct(kind)]
    kinds += [one.answer for _, one in declared if _is_struct(one.answer)]
    schemas = _schemas([*kinds, Problem])
    paths: dict[str, dict[str, Any]] = {}
    for resource, one in declared:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(resource, one, schemas)
    parameters = {kind.__name__ for _, one in declared for kind in _parameter_kinds(one)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mercato",
            "version": mercato.__version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": type(each).__name__, "description": (type(each).__doc__ or "").strip()}
            for each in resources
        ],
        "paths": paths,
        "components": {
            "schemas": {name: one for name, one in schemas.items() if name not in parameters},
            "responses": {_name(status): _problem(status) for status in MEANING},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(resource: type, one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{resource.__name__.lower()}_{one.name}",
        "tags": [resource.__name__],
        "summary": one.summary,
        "description": " ".join(
            filter(None, (one.description, f"For {one.who.value}.", _scope(one)))
        ),
        "parameters": [
            parameter
            for source, place in _IN.items()
            if source in one.takes
            for parameter in _parameters(schemas[one.takes[source].__name__], place)
        ],
        "responses": {str(one.status): _answer(one)} | _refusals(one),
    }
    if "body" in one.takes:
        content = {"application/json": {"schema": _reference(one.takes["body"])}}
        found["requestBody"] = {"required": True, "content": content}
    if one.who is not Who.ANYONE:
        found["security"] = [{"token": []}]
    return found


def _scope(one: Operation) -> str:
    if one.who is Who.ANYONE:
        return ""
    if not one.scope:
        return "Not for tokens got by OAuth."
    return f"A token got by OAuth needs the scope `{one.scope}`."


def _parameters(schema: dict[str, Any], place: str) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    found = []
    for name, rules in schema["properties"].items():
        rules = dict(rules)
        told = {"description": rules.pop("description")} if "description" in rules else {}
        needed = place == "path" or name in required
        found.append({"name": name, "in": place, "required": needed, **told, "schema": rules})
    return found


def _answer(one: Operation) -> dict[str, Any]:
    limits = ("RateLimit", "RateLimit-Policy") if class_of(one.method, one.path) else ()
    names = ("X-Request-ID", *limits, *one.answers_with)
    headers = {name: {"schema": {"type": "string"}} for name in names}
    if one.status == 204:
        return {"description": title(204), "headers": headers}
    content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    if _is_struct(one.answer):
        content = {"application/json": {"schema": _reference(one.answer)}}
    return {"description": title(one.status), "headers": headers, "content": content}


def _refusals(one: Operation) -> dict[str, Any]:
    """Returns what an operation may refuse: what follows from its shape, and what it adds."""
    statuses = set(one.refusals)
    if one.path.startswith("/api/"):
        statuses |= {429, 500, 503}
    if one.who is not Who.ANYONE:
        statuses |= {401, 403}
    if "path" in one.takes:
        statuses.add(404)
    if set(one.takes) - {"caller"}:
        statuses.add(422)
    if "body" in one.takes:
        statuses |= {400, 408, 413, 415}
    answers: dict[str, Any] = {
        str(status): {"$ref": f"#/components/responses/{_name(status)}"}
        for status in sorted(statuses)
    }
    if 304 in statuses:
        answers["304"] = {"description": "It is still what you have."}
    return answers


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": MEANING[status],
        "content": {MEDIA_TYPE: {"schema": _reference(Problem)}},
    }
    named = {
        401: "WWW-Authenticate",
        405: "Allow",
        408: "Connection",
        429: "Retry-After",
        503: "Retry-After",
    }
    if status in named:
        found["headers"] = {named[status]: {"schema": {"type": "string"}}}
    return found


def _schemas(kinds: Sequence[type]) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        kinds, schema_hook=_of_parsed, ref_template=_REFERENCE
    )
    for kind in kinds:
        schemas[kind.__name__] |= getattr(kind, "also", {})
    tidied: dict[str, Any] = _tidied(schemas)
    return tidied


def _of_parsed(kind: type) -> dict[str, Any]:
    assert issubclass(kind, Parsed), kind  # noqa: S101 - a route's own declaration is wrong
    return dict(kind.schema)


def _tidied(schema: Any) -> Any:
    """Returns the schema in ECMA's regular expressions, and with decimals as the numbers sent."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _tidied(value) for name, value in schema.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(END, "$").replace(MAILABLE, "")
    if found.get("format") == "decimal":
        found = {name: value for name, value in found.items() if name != "format"}
        found["type"] = "number"
    return found


def _is_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct)


def _parameter_kinds(one: Operation) -> list[type]:
    return [one.takes[source] for source in _IN if source in one.takes]


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _name(status: int) -> str:
    return title(status).replace(" ", "").replace("-", "")
