import json

import pytest

from Classes.common import json_files
from Classes.dataset import manifest_rows

ROWS = [
    {"file": "1/b.png", "class": "1", "label": 1, "group": "b", "patient": "P", "sha256": "b" * 64, "bytes": 7},
    {"file": "0/ä.png", "class": "0", "label": 0, "group": "a", "sha256": "a" * 64, "bytes": 9},
]


def test_rows_are_the_dicts_that_were_written(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"splits": {"train": ROWS}, "tests": [{"file": "t", "sha256": "c" * 64}]}))

    values = json_files.read_json(path, manifest_rows.pack_row)
    rows = manifest_rows.ManifestRows(values["splits"]["train"])

    assert list(rows) == ROWS == [rows[0], rows[1]]
    assert rows == manifest_rows.ManifestRows(ROWS) == ROWS
    assert (len(rows), rows[-1], list(rows[1:])) == (2, ROWS[1], ROWS[1:])
    assert rows.labels().tolist() == [1, 0]
    assert rows.hashes().tolist() == [b"b" * 64, b"a" * 64]
    assert values["tests"] == [{"file": "t", "sha256": "c" * 64}]


def test_a_lone_surrogate_is_no_name(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"train": [{**ROWS[0], "file": "\ud800"}]}))

    with pytest.raises(ValueError, match="surrogates"):
        json_files.read_json(path, manifest_rows.pack_row)


def test_an_emoji_is_a_name(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"train": [{**ROWS[0], "file": "1/🩸.png"}]}))

    (row,) = json_files.read_json(path, manifest_rows.pack_row)["train"]

    assert manifest_rows.ManifestRows([row])[0]["file"] == "1/🩸.png"
