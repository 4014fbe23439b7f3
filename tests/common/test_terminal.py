import io
import sys

import pytest

from Classes.common import conditions, image_lines, outcome, progress_bar, summary, terminal
from tests.support import terminals


class Terminal(io.StringIO):
    """An output that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A terminal of 80 columns with colors, for `attach`."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv(terminal.STEP, raising=False)
    yield
    terminal.set_plain(False)


def attach(monkeypatch):
    """Make standard output a terminal; in the test itself, because pytest replaces it after the fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def shown(stream):
    """The lines on an emulated terminal, and the emulation."""
    screen = terminals.emulate(stream.getvalue().replace("\n", "\r\n").encode())
    return screen.text(), screen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.010485872, "0.01 s"),
        (12.5, "12.50 s"),
        (59.999, "1 min 0 s"),
        (388.294, "6 min 28 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_have_two_digits_or_whole_units(seconds, text):
    assert terminal.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "length", "short"),
    [("abc", 3, "abc"), ("abcdef", 5, "ab…ef"), ("abcdefgh", 4, "ab…h"), ("IMG_00000012.jpg", 9, "IMG_….jpg")],
)
def test_a_long_name_loses_its_middle(text, length, short):
    assert terminal.shorten(text, length) == short
    assert len(short) <= length


@pytest.mark.parametrize("change", [{"TERM": "dumb"}, {"TERM": ""}, None])
def test_nothing_is_drawn_where_a_terminal_cannot_or_must_not(monkeypatch, change):
    output = attach(monkeypatch)
    if change is None:
        terminal.set_plain(True)
    for name, value in (change or {}).items():
        monkeypatch.setenv(name, value)

    terminal.say("text")
    terminal.show_end("result", next_command="python3 Data.py")
    with progress_bar.ProgressBar(range(3)) as bar:
        assert list(bar) == [0, 1, 2]

    assert output.getvalue() == ""


def test_an_end_has_at_most_five_lines_and_names_only_files_that_exist(monkeypatch, tmp_path):
    output = attach(monkeypatch)
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).touch()
    files = [(name, tmp_path / name) for name in ("missing", "a", "b", "c", "d")]

    terminal.show_end("All is well.", files, "python3 Data.py")

    lines, _screen = shown(output)
    assert len(lines) == terminal.MAX_LAST_LINES == 5
    assert lines[0] == "All is well."
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "c", "Next"]
    assert lines[-1].split("Next")[1].strip() == "python3 Data.py"


def test_files_are_links_even_if_their_address_is_longer_than_the_terminal(monkeypatch, tmp_path):
    output = attach(monkeypatch)
    short, long = tmp_path / "r.html", tmp_path / ("x" * 90)
    for path in (short, long):
        path.touch()
        terminal.show_end("Done.", [("Report", path)])

    lines, screen = shown(output)
    assert screen.wrapped == 0
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    for path in (short, long):
        # OSC 8, the escape sequence of a hyperlink.
        assert f";{path.as_uri()}\x1b\\" in output.getvalue()


def test_in_the_middle_of_a_set_up_only_the_result_is_shown(monkeypatch, tmp_path):
    output = attach(monkeypatch)
    monkeypatch.setenv(terminal.STEP, "middle")
    terminal.show_end("Done.", [("Folder", tmp_path)], "python3 Data.py")

    assert shown(output)[0] == ["Done."]


def test_texts_are_wrapped_at_words(monkeypatch):
    output = attach(monkeypatch)
    terminal.say("word " * 40)

    lines, screen = shown(output)
    assert screen.wrapped == 0
    assert len(lines) == 3
    assert set(" ".join(lines).split()) == {"word"}


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_is_respected(monkeypatch, no_color):
    output = attach(monkeypatch)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal.say("text", "red")

    assert ("\x1b[31m" in output.getvalue()) is not no_color


def test_a_bar_leaves_a_visible_cursor_and_nothing_else_behind(monkeypatch):
    output = attach(monkeypatch)
    with pytest.raises(KeyboardInterrupt), progress_bar.ProgressBar(total=3, desc="Images") as bar:
        bar.update()
        terminal.say("above")
        raise KeyboardInterrupt

    lines, screen = shown(output)
    assert lines == ["above"]
    assert "\x1b[?25l" not in output.getvalue(), "a killed process could not show the cursor again"
    assert not screen.cursor.hidden


def test_an_image_has_one_line_whatever_its_name(monkeypatch):
    output = attach(monkeypatch)
    names = ["a.jpg", "n" * 200 + ".jpg", "zwei\x1b[2J\n.jpg", "d.jpg"]
    with image_lines.ImageLines(names) as lines:
        lines.show(names[0], {"outcome": outcome.NEGATIVE, "confidence": 0.992}, conditions.ALL)
        lines.show(names[1], {"outcome": outcome.POSITIVE, "confidence": 1.0, "correct": False}, conditions.ALL)
        lines.show(names[2], {"outcome": outcome.REVIEW, "confidence": 0.5, "correct": True}, conditions.ALL)
        lines.show(names[3], {"error": "d.jpg: damaged"}, conditions.ALL)

    texts, screen = shown(output)
    assert screen.wrapped == 0
    assert len(texts) == 4
    assert texts[0].split() == ["[1/4]", "a.jpg", "No", "signs", "of", "ALL", "99.2", "%"]
    assert texts[1].split()[-6:] == ["of", "ALL", ">", "99.9", "%", "wrong"]
    assert texts[2].split()[-4:] == ["Needs", "review", "50.0", "%"]
    assert texts[3].split()[:2] == ["[4/4]", "d.jpg"]


def test_a_summary_ends_with_the_counts_of_all_images(monkeypatch, tmp_path):
    output = attach(monkeypatch)
    row = {"error": None, "reasons": [], "correct": None, "verdict": None}
    rows = [{**row, "file": f"{number}.png", "outcome": outcome.NEGATIVE} for number in range(3)]
    rows.append({**row, "file": "r.png", "outcome": outcome.REVIEW, "reasons": [outcome.OUT_OF_FOCUS]})
    rows.append({**row, "file": "e.png", "error": "e.png: damaged"})
    table = tmp_path / "t.csv"
    table.touch()

    image_lines.show_summary(
        summary.summarize(rows, 9, condition=conditions.ALL), [("Table", table), ("JSON", None)], "python3 Server.py"
    )

    lines, _screen = shown(output)
    assert lines[0] == "Stopped after 5 of 9 images."
    assert [line for line in lines if "r.png" in line and "focus" in line]
    [result] = [line for line in lines if line.startswith("5 images: ")]
    assert result == "5 images: 0 Signs of ALL, 3 No signs of ALL, 1 Needs review, 1 Failed."
    assert len(lines) - lines.index(result) == 3
