"""Line charts as SVG, of a training's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 560, 220, 48, 20, 26
_COLOURS = 6
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "10 4")
"""One fewer than there are colours, so that a pair of both comes again only after 30 lines."""

Point = tuple[float, float]


def chart(title: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Returns a figure with a line for each name, told apart by dashes and by colour.

    Points are step and value; lines without points are left out.
    """
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    steps = [step for points in lines.values() for step, _ in points]
    values = [value for points in lines.values() for _, value in points]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    first, last = min(steps), max(max(steps), min(steps) + 1)

    def place(step: float, value: float) -> str:
        x = LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        y = 8 + (high - value) / (high - low) * (HEIGHT - BOTTOM - 8)
        return f"{x:.1f},{y:.1f}"

    drawn, legend = [], []
    for number, (name, points) in enumerate(lines.items()):
        colour, dash = f"var(--line-{number % _COLOURS})", _DASHES[number % len(_DASHES)]
        path = " ".join(place(step, value) for step, value in points)
        drawn.append(
            f'<polyline points="{path}" style="stroke:{colour}" stroke-dasharray="{dash}"/>'
            f'<circle cx="{path.split()[-1].split(",")[0]}" cy="{path.split()[-1].split(",")[1]}" '
            f'r="2.5" style="fill:{colour}"/>'
        )
        legend.append(
            f'<li><svg width="28" height="8" aria-hidden="true"><line x1="0" y1="4" x2="28" y2="4" '
            f'style="stroke:{colour}" stroke-dasharray="{dash}"/></svg> {escape(name)} '
            f"<b>{points[-1][1]:.3f}</b></li>"
        )
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{place(first, value).split(",")[1]}" class="y">{value:.3g}</text>'
        for value in (low, (low + high) / 2, high)
    ) + "".join(
        f'<text x="{place(step, low).split(",")[0]}" y="{HEIGHT - 8}" class="x">{step:.0f}</text>'
        for step in (first, (first + last) / 2, last)
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<path d="M{LEFT} 8V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" class="axes"/>'
        f"{ticks}{''.join(drawn)}</svg><ul>{''.join(legend)}</ul></figure>"
    )
