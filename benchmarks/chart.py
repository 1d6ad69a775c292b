"""Charts as SVG by our own hand: lines over a logarithmic axis, and bars made of parts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

WIDTH, HEIGHT = 960, 340
LEFT, RIGHT, TOP, BOTTOM = 84, 290, 40, 48
PLOT_W: Final = WIDTH - LEFT - RIGHT
PLOT_H: Final = HEIGHT - TOP - BOTTOM
BAR, GAP = 22, 12
# Told apart by eyes that see few colours too (Okabe and Ito).
COLOURS: Final = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f",
    "#4b3f72", "#a05a2c", "#1b9e9e", "#b3b300",
)  # fmt: skip
QUARTERED: Final = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
STYLE: Final = (
    "<style>text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1d2430}"
    ".tick{fill:#667085;font-size:11px}.title{font-size:14px;font-weight:600}"
    ".rule{stroke:#e4e1d9}.line{fill:none;stroke-width:2;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){text{fill:#e8eaee}.tick{fill:#98a2b3}.rule{stroke:#2b3340}}"
    "</style>"
)

Points = Sequence[tuple[float, float]]


def lines(
    title: str, x_name: str, y_name: str, series: Mapping[str, Points], *, straight: bool = False
) -> str:
    """Returns a chart of each series; x is logarithmic or `straight`, y begins at 0."""
    given = [point for points in series.values() for point in points]
    if not given or min(x for x, _ in given) <= 0:
        raise ValueError("a chart needs points, and a logarithm positive x")
    least, most = min(x for x, _ in given), max(x for x, _ in given)
    top = _round_up(max(y for _, y in given))

    def at(x: float, y: float) -> tuple[float, float]:
        if straight:
            share = x / most
        else:
            share = math.log(x / least) / math.log(most / least) if most > least else 0.5
        return round(LEFT + PLOT_W * share, 1), round(TOP + PLOT_H * (1 - y / top), 1)

    parts = [*_frame(title, x_name, y_name, top)]
    marks = [most * n / 4 for n in range(5)] if straight else sorted({x for x, _ in given})
    for x in marks:
        middle, bottom = at(x, 0)
        parts.append(_text(middle, bottom + 18, f"{x:,.0f}", "tick", "middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(points)]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        for (x, y), (_, value) in zip(places, sorted(points), strict=True):
            told = f"<title>{escape(name)}: {value:,.1f}</title>"
            parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}">{told}</circle>')
        parts += _key(number, name, colour)
    return _whole(parts, HEIGHT)


def bars(title: str, unit: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Returns a bar for each row, made of its parts; equal parts have equal colours."""
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    most = max((sum(parts.values()) for parts in rows.values()), default=0.0)
    if not most:
        raise ValueError("a chart needs something to show")
    left, height = 280, TOP + len(rows) * (BAR + GAP) + BOTTOM
    scale = (WIDTH - left - RIGHT - 60) / most
    drawn = [_text(0, 18, title, "title")]
    for number, (row, parts) in enumerate(rows.items()):
        x, y = float(left), TOP + number * (BAR + GAP)
        drawn.append(_text(left - 8, y + 15, row, "", "end"))
        for name, value in parts.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            told = f"<title>{escape(name)}: {value:,.1f} {unit}</title>"
            place = f'x="{x:.1f}" y="{y}" width="{value * scale:.1f}" height="{BAR}"'
            drawn.append(f'<rect {place} fill="{colour}">{told}</rect>')
            x += value * scale
        drawn.append(_text(x + 6, y + 15, f"{sum(parts.values()):,.0f} {unit}", "tick"))
    for number, name in enumerate(names):
        drawn += _key(number, name, COLOURS[number % len(COLOURS)])
    return _whole(drawn, max(height, TOP + len(names) * 18 + 10))


def _frame(title: str, x_name: str, y_name: str, top: float) -> Iterator[str]:
    yield _text(0, 18, f"{title} ({y_name})", "title")
    yield _text(LEFT + PLOT_W / 2, HEIGHT - 8, x_name, "tick", "middle")
    for quarter in range(5):
        y = round(TOP + PLOT_H * (1 - quarter / 4), 1)
        yield f'<line class="rule" x1="{LEFT}" x2="{LEFT + PLOT_W}" y1="{y}" y2="{y}"/>'
        value = top * quarter / 4
        yield _text(LEFT - 8, y + 4, f"{value:,.0f}" if top >= 8 else f"{value:.2g}", "tick", "end")


def _key(number: int, name: str, colour: str) -> Iterator[str]:
    x, y = WIDTH - RIGHT + 16, TOP + number * 18
    yield f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/>'
    yield _text(x + 16, y + 9, name, "")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _whole(parts: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}">'
    return "\n".join((head, STYLE, *parts, "</svg>\n"))


def _round_up(value: float) -> float:
    """Returns the next number whose quarters are short to write; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(first * power for first in QUARTERED if first * power >= value * 0.999)
