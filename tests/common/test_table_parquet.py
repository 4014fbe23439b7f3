from pyarrow import parquet

from Classes.common import table_parquet

ROWS = [
    {"file": "a.png", "class": None, "share": None, "low": None, "reasons": [], "images": 1},
    {"file": "b.png", "class": None, "share": None, "low": None, "reasons": [], "images": 2},
    {"file": "c.png", "class": "1", "share": 0.25, "low": True, "reasons": ["blank"], "images": 3.5},
]


def test_a_column_that_is_empty_in_the_first_group_has_the_type_of_a_later_one(tmp_path, monkeypatch):
    whole, grouped = tmp_path / "whole.parquet", tmp_path / "grouped.parquet"
    table_parquet.write_parquet(whole, ROWS, {"name": "ALL"})
    monkeypatch.setattr(table_parquet, "GROUP", 1)

    table_parquet.write_parquet(grouped, ROWS, {"name": "ALL"})

    assert parquet.ParquetFile(grouped).num_row_groups == 3
    found = parquet.read_table(grouped)
    assert found.equals(parquet.read_table(whole), check_metadata=True)
    assert found.to_pylist() == ROWS
