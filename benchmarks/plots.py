"""Line plots as SVG text.

Guarded here: an axis always contains every point, and says its numbers in words a person would use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 330
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 40
TICKS_MIN: Final = 3
COLOURS: Final = ("#2f6fb3", "#d1662b", "#2c8c57", "#a2478f", "#8a6d1c", "#5b62c9", "#b33a4a", "#3a8f99")


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    points: Sequence[tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        """Where a value lies."""
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)

    def ticks(self) -> list[float]:
        """Round values between low and high."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for factors in ((1,), (1, 2, 5), range(1, 10)):
                found = [factor * 10.0**power for power in powers for factor in factors]
                inside = [each for each in found if self.low <= each <= self.high]
                if len(inside) >= TICKS_MIN:
                    return inside
            return [self.low, self.high]
        rough = (self.high - self.low) / 5 or 1.0
        step = 10.0 ** math.floor(math.log10(rough))
        step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= rough)
        first = math.ceil(self.low / step)
        return [place * step for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def words(value: float) -> str:
    """A number on an axis."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:.4g}"


def lines(
    title: str,
    x_title: str,
    series: Sequence[Series],
    *,
    log_x: bool = False,
    log_y: bool = False,
    from_zero: bool = False,
    x_names: Sequence[str] = (),
) -> str:
    """A plot of some lines that share both axes."""
    shown = [each for each in series if each.points]
    xs = [point[0] for each in shown for point in each.points]
    ys = [point[1] for each in shown for point in each.points]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x)
    low_y = 0.0 if from_zero and not log_y else min(ys)
    legend_rows = -(-len(shown) // 3)
    y_axis = _Axis(low_y, max(ys) * (1.0 if log_y else 1.05) or 1.0, HEIGHT - BOTTOM, TOP, log_y)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 16 * legend_rows}" role="img" aria-label="{escape(title)}">',
        f'<text class="name" x="{LEFT}" y="16">{escape(title)}</text>',
    ]
    parts += _grid(x_axis, y_axis, x_title, x_names)
    for place, each in enumerate(shown):
        colour = COLOURS[place % len(COLOURS)]
        parts += _line(each, x_axis.place, y_axis.place, colour)
        x, y = LEFT + (place % 3) * 165, HEIGHT + 12 + 16 * (place // 3)
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{x + 15}" y="{y + 1}">{escape(each.name)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _grid(x_axis: _Axis, y_axis: _Axis, x_title: str, x_names: Sequence[str]) -> list[str]:
    parts = []
    for value in y_axis.ticks():
        y = y_axis.place(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{words(value)}</text>'
        )
    ticks = (
        [(float(place), name) for place, name in enumerate(x_names)]
        if x_names
        else [(value, words(value)) for value in x_axis.ticks()]
    )
    for value, name in ticks:
        if x_axis.low <= value <= x_axis.high:
            parts.append(
                f'<text x="{x_axis.place(value):.1f}" y="{HEIGHT - BOTTOM + 16}"'
                f' text-anchor="middle">{escape(name)}</text>'
            )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_title)}</text>')
    return parts


def _line(series: Series, x: Callable[[float], float], y: Callable[[float], float], colour: str) -> list[str]:
    places = [(x(point[0]), y(point[1])) for point in series.points]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    parts = [f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round" points="{path}"/>']
    if len(places) <= 12:
        parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>' for left, top in places]
    return parts
