"""/openapi.json and /docs: the contract, for programs and for people, without another host."""

import base64
import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from markupsafe import Markup, escape

from mercato.gateway.operation import options
from mercato.gateway.problems import MEANING, title
from mercato.gateway.reply import Reply

_HERE: Final = Path(__file__).parent
_PREFIX: Final = "#/components/"


def routes(document: dict[str, Any]) -> list[HTTPRouteHandler]:
    """Returns the routes that show `document`; both pages are made once."""
    text = msgspec.json.encode(document)
    page, policy = _page(document)

    @get("/openapi.json")
    async def openapi() -> ASGIApp:
        return Reply(text, cache_control="no-cache")

    @get("/docs")
    async def docs() -> ASGIApp:
        kind = "text/html; charset=utf-8"
        return Reply(page, kind=kind, content_security_policy=policy, cache_control="no-cache")

    @get("/", status_code=307)
    async def front() -> ASGIApp:
        return Reply(b"", 307, location="/docs")

    told = [options(path, ["GET"]) for path in ("/openapi.json", "/docs", "/")]
    return [*told, openapi, docs, front]


def _page(document: dict[str, Any]) -> tuple[bytes, str]:
    """Returns the page, and the policy that lets its own style and script run and no other."""
    style, script = (_HERE / "page.css").read_text(), (_HERE / "page.js").read_text()
    jinja = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    view = _View(document)
    jinja.filters |= {"text": _text, "resolved": view.resolved}
    jinja.globals |= {"example": view.example, "rules": _rules, "kind": view.kind}
    page = jinja.get_template("page.html.j2").render(
        document=document, tags=view.tags(), style=Markup(style), script=Markup(script),  # noqa: S704
        problems=[(status, title(status), MEANING[status]) for status in MEANING],
    )  # fmt: skip
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page.encode(), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _View:
    """What the template asks of the document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def tags(self) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Returns each tag with its operations."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path, methods in self._document["paths"].items():
            for method, one in methods.items():
                here = {"method": method.upper(), "path": path, **one}
                found.setdefault(one["tags"][0], []).append(here)
        return [(tag, found.get(tag["name"], [])) for tag in self._document["tags"]]

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Returns what `node` is, or what it refers to."""
        if "$ref" not in node:
            return node
        section, name = node["$ref"].removeprefix(_PREFIX).split("/")
        found: dict[str, Any] = self._document["components"][section][name]
        return found

    def example(self, schema: dict[str, Any]) -> str:
        """Returns an example of `schema`, as JSON text."""
        return msgspec.json.format(msgspec.json.encode(self._value(schema)), indent=2).decode()

    def kind(self, schema: dict[str, Any]) -> str:
        """Returns a schema's type in a word or two."""
        if "$ref" in schema:
            return str(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return " or ".join(self.kind(each) for each in schema["anyOf"])
        if schema.get("type") == "array":
            return f"list of {self.kind(schema['items'])}"
        return str(schema.get("format", schema.get("type", "string")))

    def _value(self, schema: dict[str, Any]) -> Any:
        schema = self.resolved(schema)
        if "examples" in schema:
            return schema["examples"][0]
        if "properties" in schema:
            wanted = {
                name: self._value(each)
                for name, each in schema["properties"].items()
                if name in schema.get("required", ()) or "examples" in each
            }
            return wanted
        if schema.get("type") == "array":
            return [self._value(schema["items"])]
        if schema.get("format") == "date-time":
            return "2026-01-02T03:04:05.678Z"
        plain = {"integer": 1, "number": 19.99, "object": {}}
        return plain.get(schema.get("type", ""), schema.get("enum", ["text"])[-1])


def _rules(schema: dict[str, Any]) -> str:
    """Returns a schema's rules in words."""
    words = {
        "minLength": "at least {} characters", "maxLength": "at most {} characters",
        "minimum": "at least {:,}", "maximum": "at most {:,}",
        "minItems": "at least {} items", "maxItems": "at most {} items",
    }  # fmt: skip
    told = [text.format(schema[name]) for name, text in words.items() if name in schema]
    if "enum" in schema:
        told.append("one of " + ", ".join(str(each) for each in schema["enum"] if each != ""))
    if schema.get("default", "") != "":
        told.append(f"{schema['default']} when left out")
    return "; ".join(told)


def _text(text: str) -> Markup:
    """Returns plain text with `code`, paragraphs and lists as HTML."""
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = escape(block).replace("\n  ", " ")
        if block.startswith("- "):
            items = lines.removeprefix("- ").split("\n- ")
            blocks.append("<ul>" + "".join(f"<li>{_coded(item)}</li>" for item in items) + "</ul>")
        else:
            blocks.append(f"<p>{_coded(lines)}</p>")
    return Markup("".join(blocks))  # noqa: S704 - escaped above


def _coded(text: str) -> str:
    parts = text.split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else str(p) for i, p in enumerate(parts))
