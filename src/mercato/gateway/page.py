"""Pages for people: one style of our own, no script, nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mercato.gateway.reply import Reply

_HERE: Final = Path(__file__).parent
_STYLE: Final = (_HERE / "page.css").read_text()
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGES: Final = Environment(
    loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def rendered(
    template: str, shown: Mapping[str, Any], status: int, form_action: str, **headers: str
) -> Reply:
    """Returns the page of `template` with `shown` in it; its forms go to `form_action` alone."""
    text = _PAGES.get_template(template).render(shown, style=Markup(_STYLE))  # noqa: S704 - ours
    headers["content_security_policy"] = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {form_action}"
    )
    return Reply(text.encode(), status, "text/html; charset=utf-8", **headers)
