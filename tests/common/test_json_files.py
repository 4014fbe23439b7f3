import json

import pytest

from Classes.common import json_files
from tests.support.folders import names


def test_json_is_readable_by_people_and_machines(tmp_path):
    json_files.write_json(tmp_path / "a.json", {"name": "Größe", "values": [1, 0.5]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Größe", "values": [1, 0.5]}
    assert "Größe" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path, value):
    with pytest.raises(ValueError):
        json_files.write_json(tmp_path / "a.json", {"accuracy": value})
    assert names(tmp_path) == []
