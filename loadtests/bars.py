"""Stacked bars as SVG text, in the manner of the benchmarks' line plots.

Guarded here: bars of one plot share a scale that begins at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks.plots import COLOURS

WIDTH: Final = 560
NAME_WIDTH, NUMBER_WIDTH, ROW_HEIGHT, TOP = 150, 70, 30, 30


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, and its parts from left to right."""

    name: str
    parts: Sequence[tuple[str, float]]

    @property
    def total(self) -> float:
        """Its length."""
        return sum(value for _, value in self.parts)


def bars(title: str, shown: Sequence[Bar]) -> str:
    """A plot of some bars."""
    most = max(bar.total for bar in shown) or 1.0
    room = WIDTH - NAME_WIDTH - NUMBER_WIDTH
    names = list(dict.fromkeys(name for bar in shown for name, _ in bar.parts))
    height = TOP + ROW_HEIGHT * len(shown) + 16 * (-(-len(names) // 3)) + 12
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f'<text class="name" x="0" y="16">{escape(title)}</text>',
    ]
    for place, bar in enumerate(shown):
        y, x = TOP + place * ROW_HEIGHT, float(NAME_WIDTH)
        parts.append(f'<text x="{NAME_WIDTH - 8}" y="{y + 15}" text-anchor="end">{escape(bar.name)}</text>')
        for name, value in bar.parts:
            width = room * value / most
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="20" fill="{colour}"/>')
            x += width
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{bar.total:.4f}</text>')
    for place, name in enumerate(names):
        x, y = (place % 3) * 185, TOP + ROW_HEIGHT * len(shown) + 12 + 16 * (place // 3)
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="10" height="10" fill="{COLOURS[place % len(COLOURS)]}"/>'
            f'<text x="{x + 15}" y="{y + 1}">{escape(name)}</text>'
        )
    return "".join([*parts, "</svg>"])
