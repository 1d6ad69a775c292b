"""The timeline of a storm as one SVG: orders, latency, what waited, and every fault as a mark."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from mercato.embedded.plan import SERVICES
from mercato.storm.faults import Happened
from mercato.storm.report import Report

WIDTH, LEFT, RIGHT = 1120, 112, 16
PLOT: Final = WIDTH - LEFT - RIGHT
LATENCY_MS_MIN, LATENCY_MS_MAX = 10.0, 30_000.0
LANE: Final = 20
FAULTS_SHARE: Final = 0.6
TICK: Final = 64  # pixels
GAP: Final = 34
SERVERS: Final = ("mongo", "nats", "redis", "mailbox", "smtp")


def draw(report: Report) -> str:
    """Returns the SVG element; its colours are classes that the page's style sheet knows."""
    x = _Axis(max(len(report.seconds), 1), report.times.faults_s)
    parts: list[str] = []
    top = 24
    for height, panel in ((110, _orders), (110, _latency), (90, _waiting)):
        parts += [*panel(report, x, top, height)]
        top += height + GAP
    lanes = [*SERVICES, *SERVERS]
    parts += _lanes(report.happened, lanes, x, top)
    bottom = top + len(lanes) * LANE
    behind = [*_grid(x, bottom), *_moments(report, x, bottom)]
    body = "\n".join((*behind, *parts))
    size = f'viewBox="0 0 {WIDTH} {bottom + 30}"'
    return f'<svg {size} role="img" aria-label="Timeline of the storm">\n{body}\n</svg>'


class _Axis:
    """Seconds to pixels. The time of the faults has FAULTS_SHARE of the width at the least; what
    comes after it then runs faster.
    """

    def __init__(self, seconds: int, faults_s: float) -> None:
        self.seconds = seconds
        self.faults_s = min(faults_s, seconds)
        after_s = seconds - self.faults_s
        self._share = max(FAULTS_SHARE, self.faults_s / seconds) if after_s else 1.0
        self._scale = PLOT * self._share / self.faults_s
        self._scale_after = PLOT * (1 - self._share) / after_s if after_s else 0.0

    def __call__(self, second: float) -> float:
        second = min(second, self.seconds)
        after_s = max(second - self.faults_s, 0.0)
        return round(LEFT + (second - after_s) * self._scale + after_s * self._scale_after, 1)

    def ticks(self) -> list[int]:
        """Returns round seconds, at least TICK pixels apart, the end of the faults among them."""
        steps = (1, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 36_000)
        slow = next(step for step in steps if step * self._scale >= TICK)
        ticks = list(range(0, int(self.faults_s), slow))
        if ticks and self(self.faults_s) - self(ticks[-1]) < TICK / 2:
            ticks.pop()
        last = round(self.faults_s)
        if not self._scale_after:
            return [*ticks, last]
        fast = next((step for step in steps if step * self._scale_after >= TICK), steps[-1])
        first = (last // fast + 1) * fast
        first += fast if self(first) - self(last) < TICK / 2 else 0
        return [*ticks, last, *range(first, self.seconds + 1, fast)]


def _orders(report: Report, x: _Axis, top: int, height: int) -> Iterator[str]:
    most = max((each.acknowledged for each in report.seconds), default=0) or 1
    yield from _heading(top, "orders / s", [(0, "0"), (1, str(most))], height)
    for second, each in enumerate(report.seconds):
        width = max(x(second + 1) - x(second) - 1, 0.5)
        tall = round(height * each.acknowledged / most, 1)
        yield (
            f'<rect class="orders" x="{x(second)}" y="{top + height - tall}" width="{width:.1f}" '
            f'height="{tall}"><title>{second} s: {each.acknowledged} orders</title></rect>'
        )


def _latency(report: Report, x: _Axis, top: int, height: int) -> Iterator[str]:
    marks = [(_log(ms), label) for ms, label in ((10, "10 ms"), (100, "100 ms"), (1e3, "1 s"),
                                                 (1e4, "10 s"))]  # fmt: skip
    yield from _heading(top, "latency", marks, height)
    for name in ("slowest_ms", "latency_ms"):
        points = [
            None if (ms := getattr(each, name)) is None else _log(ms) for each in report.seconds
        ]
        yield from _line(points, x, top, height, name.removesuffix("_ms"))


def _waiting(report: Report, x: _Axis, top: int, height: int) -> Iterator[str]:
    most = max((max(e.undecided or 0, e.mails or 0) for e in report.seconds), default=0) or 1
    yield from _heading(top, "waiting", [(0, "0"), (1, f"{most:,}")], height)
    for name in ("mails", "undecided"):
        points = [
            None if (count := getattr(each, name)) is None else count / most
            for each in report.seconds
        ]
        yield from _line(points, x, top, height, name)


def _line(
    points: Sequence[float | None], x: _Axis, top: int, height: int, kind: str
) -> Iterator[str]:
    """A line through what is known; where nothing is, it is broken."""
    runs: list[list[str]] = [[]]
    for second, share in enumerate(points):
        if share is None:
            runs.append([])
        else:
            runs[-1].append(f"{x(second + 0.5)},{round(top + height * (1 - share), 1)}")
    for run in runs:
        if run:
            path = " ".join(run if len(run) > 1 else run * 2)
            yield f'<polyline class="line {kind}" points="{path}"/>'


def _heading(top: int, name: str, marks: Sequence[tuple[float, str]], height: int) -> Iterator[str]:
    yield f'<text class="name" x="0" y="{top + 12}">{name}</text>'
    for share, label in marks:
        y = round(top + height * (1 - share), 1)
        yield f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{y + 3.5}" text-anchor="end">{label}</text>'


def _lanes(happened: Sequence[Happened], lanes: Sequence[str], x: _Axis, top: int) -> Iterator[str]:
    for number, lane in enumerate(lanes):
        y = top + number * LANE + LANE // 2
        yield f'<line class="lane" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="name" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{lane}</text>'
        for fault in happened:
            if fault.target == lane:
                yield mark(fault.kind, x(fault.at_s), y, x(fault.over_s), _told(fault))


def mark(kind: str, x: float, y: float, over: float = 0, title: str = "") -> str:
    """Returns the sign of a fault: what is killed, what is held up for a time, what is cut."""
    told = f"<title>{escape(title)}</title>"
    if kind == "kill":
        return f'<circle class="kill" cx="{x}" cy="{y}" r="4.5">{told}</circle>'
    if kind in ("wipe", "flush"):
        path = f"M{x} {y - 7}L{x + 7} {y}L{x} {y + 7}L{x - 7} {y}Z"
        return f'<path class="wipe" d="{path}">{told}</path>'
    if kind in ("stop", "stall", "delay"):
        width = max(over - x, 4)
        return (
            f'<rect class="{kind}" x="{x}" y="{y - 4}" width="{width:.1f}" height="8" rx="3">'
            f"{told}</rect>"
        )
    if kind == "drop replies":
        path = f"M{x} {y + 5}L{x - 5} {y - 4}L{x + 5} {y - 4}Z"
        return f'<path class="drop" d="{path}">{told}</path>'
    return f'<rect class="cut" x="{x - 1.5}" y="{y - 7}" width="3" height="14">{told}</rect>'


def _told(fault: Happened) -> str:
    return f"{fault.at_s:.1f} s: {fault.kind} {fault.target}"


def _grid(x: _Axis, bottom: int) -> Iterator[str]:
    for second in x.ticks():
        at = x(second)
        yield f'<line class="rule" x1="{at}" x2="{at}" y1="24" y2="{bottom}"/>'
        label = f"{second} s" if second < 300 else f"{second // 60}:{second % 60:02d} min"
        yield f'<text class="tick" x="{at}" y="{bottom + 18}" text-anchor="middle">{label}</text>'


def _moments(report: Report, x: _Axis, bottom: int) -> Iterator[str]:
    times = report.times
    width = round(x(times.faults_s) - LEFT, 1)
    yield f'<rect class="faulty" x="{LEFT}" y="16" width="{width}" height="{bottom - 16}"/>'
    yield f'<text class="moment" x="{LEFT + 6}" y="12">faults</text>'
    moments = ((times.driven_s, "last answer"), (times.quiet_s, "quiet"))
    for second, label in moments:
        if second is not None:
            at = x(second)
            yield f'<line class="moment" x1="{at}" x2="{at}" y1="16" y2="{bottom}"/>'
            yield f'<text class="moment" x="{at - 4}" y="12" text-anchor="end">{label}</text>'


def _log(ms: float) -> float:
    """Where a latency lies between the least and the greatest that are shown, 0 to 1."""
    span = math.log(LATENCY_MS_MAX / LATENCY_MS_MIN)
    return min(max(math.log(max(ms, LATENCY_MS_MIN) / LATENCY_MS_MIN) / span, 0.0), 1.0)
