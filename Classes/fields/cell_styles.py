"""The color, line and symbol of each type of cell, which color-blind people can tell apart.

The colors are from Okabe and Ito, "Color Universal Design" (2008, https://jfly.uni-koeln.de/color/). No type
differs from another one by its color alone.
"""

import dataclasses

# Dash patterns in units of the line's width: drawn, gap, drawn, gap, …; empty: a solid line.
SOLID: tuple[int, ...] = ()
DASHED, DOTTED, DASH_DOT, LONG = (5, 3), (1, 2), (5, 2, 1, 2), (11, 4)


@dataclasses.dataclass(frozen=True)
class CellStyle:
    """How a type is drawn.

    Attributes:
      color: RGB, 0..255.
      dash: pattern of the line around the cell.
      symbol: one of SYMBOLS.
      weight: width of the line relative to other types.
    """

    color: tuple[int, int, int]
    dash: tuple[int, ...]
    symbol: str
    weight: float = 1.0

    @property
    def hex(self) -> str:
        """The color as in CSS, such as "#0072b2"."""
        return "#{:02x}{:02x}{:02x}".format(*self.color)

    @property
    def text_color(self) -> tuple[int, int, int]:
        """Black or white, whichever has more contrast to the color (WCAG 2)."""
        luminance = sum(
            share * _linear(value) for share, value in zip((0.2126, 0.7152, 0.0722), self.color, strict=True)
        )
        # The contrast to black is (luminance + 0.05) / 0.05, to white 1.05 / (luminance + 0.05).
        return (0, 0, 0) if (luminance + 0.05) ** 2 > 0.05 * 1.05 else (255, 255, 255)


# Outlines in a square from -1 to 1, y downwards.
SYMBOLS: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
    "triangle": ((0, -1), (1, 0.8), (-1, 0.8)),
    "triangle down": ((-1, -0.8), (1, -0.8), (0, 1)),
    "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
    "hexagon": ((-0.5, -0.9), (0.5, -0.9), (1, 0), (0.5, 0.9), (-0.5, 0.9), (-1, 0)),
    "bar": ((-1, -0.35), (1, -0.35), (1, 0.35), (-1, 0.35)),
    "plus": (
        *((-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)),
        *((0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)),
    ),
    "star": (
        *((0, -1), (0.26, -0.36), (0.95, -0.31), (0.42, 0.14), (0.59, 0.81)),
        *((0, 0.45), (-0.59, 0.81), (-0.42, 0.14), (-0.95, -0.31), (-0.26, -0.36)),
    ),
}

STYLES = {
    "neutrophil": CellStyle((0, 114, 178), SOLID, "square"),
    "lymphocyte": CellStyle((86, 180, 233), DASHED, "diamond"),
    "monocyte": CellStyle((0, 158, 115), LONG, "triangle"),
    "eosinophil": CellStyle((230, 159, 0), SOLID, "hexagon"),
    "basophil": CellStyle((204, 121, 167), DASH_DOT, "triangle down"),
    "immature granulocyte": CellStyle((240, 228, 66), DASHED, "plus"),
    "erythroblast": CellStyle((0, 0, 0), DOTTED, "bar"),
}
BLAST = CellStyle((213, 94, 0), SOLID, "star", weight=1.8)
OTHER = CellStyle((0, 0, 0), DASH_DOT, "square")


def style_of(group: str) -> CellStyle:
    """Return the style of a type; every kind of blast has the same."""
    return BLAST if group.endswith("blast") and group not in STYLES else STYLES.get(group, OTHER)


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
