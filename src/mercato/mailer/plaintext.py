"""The words of an HTML page, for those who read mail without HTML.

In one pass for each pattern, whatever is sent: the standard library's parser takes minutes for
200 KB of `<a `, and the mails of everybody else would wait.
"""

import html
import re
from typing import Final

_SILENT: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|head|title|template)\b.*?(?:</\1\s*>|\Z)", re.I | re.S
)
_TAG: Final = re.compile(r"<(/?)([a-z][a-z0-9]*)([^<>]*)>|<[!?/][^<>]*>", re.I)
_LINK: Final = re.compile(r"""\shref\s*=\s*["']?((?:https?://|mailto:)[^\s"'<>]+)""", re.I)
_HUGE_NUMBER: Final = re.compile(r"&#\d{8,}")  # more digits than `html.unescape` can take
_BLOCKS: Final = {
    *("address", "article", "blockquote", "br", "div", "dl", "dd", "dt", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre"),
    *("section", "table", "tr", "ul"),
}


def plaintext(page: str) -> str:
    """Returns the text of `page`, a line a block, links after their addresses; never raises."""
    words = " ".join(_SILENT.sub("", page).split())
    text = html.unescape(_HUGE_NUMBER.sub("", _TAG.sub(_told, words)))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _told(found: re.Match[str]) -> str:
    """What a tag means where there are none."""
    end, tag, attributes = found[1], (found[2] or "").lower(), found[3]
    if tag in _BLOCKS:
        return "\n- " if tag == "li" and not end else "\n"
    if tag in ("td", "th"):
        return " "
    link = _LINK.search(attributes) if tag == "a" and not end else None
    return f"{link[1]} " if link else ""
