"""The report as a page for people: one file that needs no other."""

from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from mercato.storm import chart
from mercato.storm.report import Report

JSON, HTML = "storm.json", "storm.html"
_SIGNS: Final = (
    ("kill", "killed (SIGKILL)"),
    ("wipe", "wiped: all its data gone"),
    ("stop", "stopped for a while (SIGSTOP)"),
    ("cut", "connections cut"),
    ("drop replies", "replies dropped after the request was applied"),
    ("stall", "connection stalled"),
    ("delay", "connection slow"),
)


def write(report: Report, folder: Path) -> Path:
    """Writes both reports and returns the page's path; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    page = folder / HTML
    page.write_text(render(report), encoding="utf-8")
    return page


def render(report: Report) -> str:
    """Returns the page's HTML."""
    pages = Environment(loader=PackageLoader("mercato.storm"), autoescape=True)
    pages.filters["number"] = _number
    signs = [(Markup(_sign(kind)), text) for kind, text in _SIGNS]  # noqa: S704 - our own
    return pages.get_template("report.html.j2").render(
        report=report,
        timeline=Markup(chart.draw(report)),  # noqa: S704 - it escapes what it is given
        signs=signs,
        faults=sum(report.faults.values()),
        kinds=_by_kind(report),
        command=_command(report),
    )


def _sign(kind: str) -> str:
    drawn = chart.mark(kind, 4 if kind in ("stop", "stall", "delay") else 10, 10, 18)
    return f'<svg class="sign" viewBox="0 0 20 20" aria-hidden="true">{drawn}</svg>'


def _by_kind(report: Report) -> dict[str, dict[str, int]]:
    """Returns what happened how often, by kind and then by target."""
    kinds: dict[str, dict[str, int]] = {}
    for fault in report.happened:
        targets = kinds.setdefault(fault.kind, {})
        targets[fault.target] = targets.get(fault.target, 0) + 1
    return {kind: dict(sorted(targets.items())) for kind, targets in sorted(kinds.items())}


def _command(report: Report) -> str:
    o = report.options
    return (
        f"mercato storm --seed {o.seed} --orders {o.orders} --minutes {o.faults_s / 60:g} "
        f"--clients {o.clients} --faults {','.join(o.groups)}"
    )


def _number(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"
