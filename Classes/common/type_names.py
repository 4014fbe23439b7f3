"""The names of cell types in the language of the reader; tables, GeoJSON and files have the English ones."""

from Classes.common.translation import gettext as _
from Classes.common.translation import mark

# All names that a differential can have, for the catalogue.
NAMES = (
    mark("neutrophil"),
    mark("segmented neutrophil"),
    mark("band neutrophil"),
    mark("lymphocyte"),
    mark("monocyte"),
    mark("eosinophil"),
    mark("basophil"),
    mark("immature granulocyte"),
    mark("metamyelocyte"),
    mark("myelocyte"),
    mark("promyelocyte"),
    mark("erythroblast"),
    mark("lymphoblast"),
    mark("myeloblast"),
    mark("blast"),
)


def type_name(name: str) -> str:
    """Return the name of a type in the reader's language; return a name without a translation unchanged."""
    return _(name)
