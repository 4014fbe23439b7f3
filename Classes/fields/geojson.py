"""Write the cells of a field as GeoJSON that QuPath opens: one detection per cell, with its type and measurements.

QuPath (Bankhead et al., Scientific Reports 7 (2017) 16878) reads a FeatureCollection whose features have the properties
objectType, classification (name and color) and measurements; coordinates are pixels of the whole image.
"""

import json
import uuid
from typing import Any

from Classes import Helpers
from Classes.fields import cell_styles
from Classes.fields.analyze import Field
from Classes.fields.typed_cells import TypedCell

# Names the identifiers, which are the same each time the same field is read.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:all-detection:cell")


def field_geojson(field: Field) -> str:
    """Return the text of a GeoJSON file."""
    features = [feature(field, cell) for cell in field.cells]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1, ensure_ascii=False) + "\n"


def feature(field: Field, cell: TypedCell) -> dict[str, Any]:
    """Return the GeoJSON feature of a cell."""
    left, top, right, bottom = (round(value, 2) for value in cell.box)
    measurements = {
        "Confidence": cell.group_confidence,
        "Finder score": round(cell.score, 4),
        **({} if cell.blast_probability is None else {"Blast probability": cell.blast_probability}),
        **{f"Probability {name}": round(value, 6) for name, value in cell.probabilities.items()},
        **(
            {}
            if field.scale is None
            else {"Width µm": cell.width * field.scale, "Height µm": cell.height * field.scale}
        ),
    }
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{field.name}/{cell.number}/{left}/{top}")),
        "geometry": {
            "type": "Polygon",
            # Closed: the first point is also the last.
            "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]],
        },
        "properties": {
            "objectType": "detection",
            "name": str(cell.number),
            "classification": {"name": cell.group, "color": list(cell_styles.style_of(cell.group).color)},
            "measurements": measurements,
            "metadata": {
                "Type": cell.name,
                "Flags": " ".join(cell.flags),
                "Reasons": " ".join(cell.reasons),
                "Notice": str(Helpers.DISCLAIMER),
            },
        },
    }
