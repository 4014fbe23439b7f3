"""A white cell of a field with its type: the record that tables, GeoJSON, pictures and the report share."""

import dataclasses
from typing import Any

# Flags of a cell, in the order in which they are shown.
CUT_BY_BORDER, TOUCHING, OUT_OF_FOCUS = "cut_by_border", "touching", "out_of_focus"
UNLIKE_TRAINING, NEEDS_REVIEW = "unlike_training", "needs_review"
FLAGS = (CUT_BY_BORDER, TOUCHING, OUT_OF_FOCUS, UNLIKE_TRAINING, NEEDS_REVIEW)


@dataclasses.dataclass(frozen=True)
class TypedCell:
    """A cell.

    Attributes:
      number: from 1, in reading order within the field.
      x, y: center in pixels of the whole image.
      width, height: of the box around it, in pixels.
      score: how sure the finder is that this is a white cell, 0 to 1.
      label: class of the model of cell types, such as "SNE".
      name: its English name, such as "segmented neutrophil"; "lymphoblast" for a blast.
      group: what is counted, such as "neutrophil".
      confidence: probability of the label.
      group_confidence: probability of the group.
      probabilities: {class: probability} of the model of cell types.
      blast_probability: from the model of blasts; None without one.
      is_blast: whether the model of blasts detects one.
      flags: of FLAGS.
      reasons: codes of outcome.REASONS why a person should look at it.
    """

    number: int
    x: float
    y: float
    width: float
    height: float
    score: float
    label: str
    name: str
    group: str
    confidence: float
    group_confidence: float
    probabilities: dict[str, float]
    blast_probability: float | None = None
    is_blast: bool = False
    flags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of the whole image."""
        return (
            self.x - self.width / 2,
            self.y - self.height / 2,
            self.x + self.width / 2,
            self.y + self.height / 2,
        )

    def row(self, field: str, scale: float | None = None) -> dict[str, Any]:
        """Return the cell as a flat row of a table.

        Args:
          field: name of the photograph.
          scale: micrometers per pixel, or None.
        """

        def micrometers(pixels: float) -> float | None:
            return None if scale is None else round(pixels * scale, 2)

        return {
            "field": field,
            "cell": self.number,
            "type": self.name if self.is_blast else self.label,
            "name": self.name,
            "group": self.group,
            "confidence": self.confidence,
            "group_confidence": self.group_confidence,
            "x": round(self.x, 1),
            "y": round(self.y, 1),
            "width": round(self.width, 1),
            "height": round(self.height, 1),
            "x_um": micrometers(self.x),
            "y_um": micrometers(self.y),
            "width_um": micrometers(self.width),
            "height_um": micrometers(self.height),
            "finder_score": round(self.score, 4),
            "blast_probability": self.blast_probability,
            # Without a model of blasts, nobody has looked for one.
            "blast": None if self.blast_probability is None else self.is_blast,
            **{flag: flag in self.flags for flag in FLAGS},
            "reason_codes": " ".join(self.reasons),
            **{f"probability_{name}": value for name, value in self.probabilities.items()},
        }
