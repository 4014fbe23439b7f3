"""The shipped models on drawn films, as Validation.py Field and Data.py Fields use them."""

import json

import PIL.Image
import pytest

from Classes import Helpers
from Classes.common.paths import PROJECT
from Classes.evaluation import field_models, measure_fields
from tests.support import faults
from tests.support.drawn_fields import draw_field

# In µm: x, y, diameter.
WHITE = [(20, 20, 13), (60, 30, 11), (40, 55, 16)]
MICRONS = 0.1


@pytest.fixture
def source(tmp_path):
    """A film with three white cells, of which a point marks the first."""
    folder = tmp_path / "Fields"
    folder.mkdir()
    white = [(x / MICRONS, y / MICRONS, diameter) for x, y, diameter in WHITE]
    PIL.Image.fromarray(draw_field(900, 700, MICRONS, white)).save(folder / "Im001_1.png")
    (folder / "Im001_1.xyc").write_text("203 198\n")
    return folder


@pytest.mark.slow
def test_cells_of_a_film_are_found_and_typed(tmp_path, source):
    cells = "".join(f"0 {x / 90} {y / 70} {size / 90} {size / 70}\n" for x, y, size in WHITE)
    (source / "Im001_1.txt").write_text(cells)
    (source / "classes.txt").write_text("WBC\n")
    configuration = Helpers.load_config(None, [f"ReportDir={tmp_path / 'Report'}"])
    measure_fields.measure_annotated_fields(configuration, source, field_models.open_analysis(configuration, None))
    report = json.loads((tmp_path / "Report/FieldValidation.json").read_text())
    assert report["recall"]["of"] == report["precision"]["of"] == [3, 3]
    assert report["types"]["annotated"] == ["WBC", "not annotated"]
    assert sum(report["types"]["confusion"][0]) == 3
    assert report["models"]["finder"]["graph"] == "Finder.pb"


@pytest.mark.slow
def test_cells_that_nobody_marked_become_the_other_class(tmp_path, source):
    setting = f"FinderGraph={PROJECT / 'Model/Finder/Finder.pb'}"
    faults.main(tmp_path, "Data", "Fields", str(source), "--others", "0", "--set", setting)
    report = json.loads((tmp_path / "Model/Report/Fields.json").read_text())
    assert report["classes"] == {"0": 2, "1": 1}
    (blast,) = (cell for cell in report["cells"] if cell["class"] == "1")
    assert (blast["x"], blast["y"]) == pytest.approx((200, 200), abs=15)
    # 37 µm, by the scale that was measured on the red cells.
    assert blast["side"] == pytest.approx(370, rel=0.2)
