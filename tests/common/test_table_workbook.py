import gc

import pytest

from Classes.common import conditions, result_table, summary, table_workbook


class Unreadable(list):
    """Rows whose reading ends with an error after the first one."""

    def __iter__(self):
        yield self[0]
        raise OSError("no more rows")


def test_rows_that_cannot_be_read_leave_no_file_and_no_complaint(tmp_path, capfd):
    rows = Unreadable([result_table.new_row("a.png", "1", ["0", "1"])] * 3)
    found = summary.summarize(list.copy(rows), len(rows), condition=conditions.ALL)

    with pytest.raises(OSError, match="no more rows"):
        table_workbook.write_workbook(tmp_path / "a.xlsx", rows, None, found)

    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
