"""Colours of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# A colour scale as Plotly takes it: stops in [0, 1] and their colours.
ColourScale = list[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours of a figure, as ``#rrggbb``.

    Attributes
    ----------
    name
        As in `THEMES`.
    long, short
        The two sides of positions.
    price
        The price and its path.
    background, text, grid
        Paper, writing, and lines behind the marks.
    opened, closed
        What is neither a side nor a price: opened and closed contracts, open interest.
    """

    name: str
    long: str
    short: str
    price: str
    background: str
    text: str
    grid: str
    opened: str
    closed: str

    @property
    def dark(self) -> bool:
        """Whether marks are brighter than the background."""
        return luminance(self.background) < luminance(self.text)

    def shade(self, colour: str, share: float) -> str:
        """Return ``colour`` on the background at an opacity of ``share``."""
        return mix(self.background, colour, share)

    def line(self, colour: str) -> str:
        """Return ``colour`` for lines that run over areas of the same colour."""
        return mix(colour, self.text, 0.4)

    def scale(self, colour: str) -> ColourScale:
        """Return a scale of one hue, from near the background over ``colour`` to the far end of brightness."""
        far = mix(colour, "#ffffff" if self.dark else "#000000", 0.5)
        return [(0.0, self.shade(colour, 0.15)), (0.6, colour), (1.0, far)]


def mix(one: str, other: str, share: float) -> str:
    """Return the colour ``share`` of the way from one to the other, in sRGB."""
    pairs = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Return the relative luminance in [0, 1], as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


_LIGHT = {"background": "#ffffff", "text": "#22262b", "grid": "#e4e7eb", "opened": "#7d8896", "closed": "#b4bcc6"}
_DARK = {"background": "#14171c", "text": "#e3e6ea", "grid": "#2d333b", "opened": "#8e99a8", "closed": "#5c6672"}

# Vermilion and blue, after Okabe and Ito, stay far apart for every common kind of colour blindness; the pink and
# green of the classic theme do not for the most common one, and its green and yellow are faint on white.
SAFE = Theme(name="safe", long="#d55e00", short="#0072b2", price="#22262b", **_LIGHT)
SAFE_DARK = Theme(name="safe-dark", long="#e8762c", short="#56b4e9", price="#f2f2f2", **_DARK)
# The colours of LiquidationHeatmap's page.
CLASSIC = Theme(name="classic", long="#d9024b", short="#45bf87", price="#f0b90b", **_LIGHT)
CLASSIC_DARK = Theme(name="classic-dark", long="#d9024b", short="#45bf87", price="#f0b90b", **_DARK)

THEMES: Mapping[str, Theme] = MappingProxyType({t.name: t for t in (SAFE, SAFE_DARK, CLASSIC, CLASSIC_DARK)})
