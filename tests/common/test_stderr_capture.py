import os
import sys

from Classes.common import stderr_capture


def test_what_a_compiled_library_writes_is_in_the_log_and_not_on_the_terminal(capfd, caplog):
    with stderr_capture.logged():
        os.write(2, b"TIFFReadDirectory: Warning, unknown field\n\nLZWDecode: \xff\x1b[2J")
        print("Python's own", file=sys.stderr)
    os.write(2, b"afterwards\n")

    assert [record.getMessage() for record in caplog.records] == [
        "TIFFReadDirectory: Warning, unknown field",
        "LZWDecode: \\xff\x1b[2J",
    ]
    assert capfd.readouterr().err == "Python's own\nafterwards\n"


def test_a_log_that_fails_stops_no_writer(monkeypatch):
    def fail(*_):
        raise OSError("the log's own")

    monkeypatch.setattr(stderr_capture.log, "warning", fail)

    with stderr_capture.logged():
        for _ in range(100):
            os.write(2, b"x" * 9999 + b"\n")


def test_a_line_without_end_is_logged_in_parts(caplog):
    with stderr_capture.logged():
        os.write(2, b"x" * 60_000)
        os.write(2, b"x" * 60_000)

    assert sum(len(record.getMessage()) for record in caplog.records) == 120_000
