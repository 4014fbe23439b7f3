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


@pytest.mark.parametrize("lists", [{"a": []}, {"a": [1, {"b": ["ä\n", {}]}], "c": [[]]}])
def test_lists_are_written_entry_by_entry_as_a_whole_file(tmp_path, lists):
    head = {"name": "Größe", "values": [1, {"x": None}]}
    json_files.write_json(tmp_path / "whole.json", {**head, **lists})
    json_files.write_json_lists(tmp_path / "parts.json", head, {name: iter(each) for name, each in lists.items()})
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
