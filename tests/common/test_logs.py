import logging
import os

from Classes import Helpers
from Classes.common import output_targets, terminal, translation
from Classes.common.translation import Message


def log_lines(folder, name="Trainer"):
    return (folder / "Logs" / f"{name}.log").read_text(encoding="utf-8").splitlines()


def test_a_line_has_the_historic_form_in_terminal_and_file(configuration, tmp_path, capsys):
    Helpers.start_log(configuration, "Trainer").info("Trainer ended in %s", 5)
    shown = capsys.readouterr().out.splitlines()
    assert shown == log_lines(tmp_path)
    for line, text in zip(shown, ["Helpers class initialization complete.", "Trainer ended in 5"], strict=True):
        when, *rest = line.split(" - ")
        assert rest == ["Trainer", "INFO", text]
        assert len(when) == len("2019-05-16 18:54:21,860")


def test_tensorflows_lines_have_theirs(configuration, tmp_path, capsys):
    Helpers.start_log(configuration, "Trainer")
    logging.getLogger("tensorflow").info("Final Loss: %s", 0.5)
    assert capsys.readouterr().out.splitlines()[-1] == "INFO:tensorflow:Final Loss: 0.5"
    assert log_lines(tmp_path)[-1] == "INFO:tensorflow:Final Loss: 0.5"


def test_a_second_start_repeats_no_line(configuration, tmp_path, capsys):
    Helpers.start_log(configuration, "Trainer")
    Helpers.start_log(configuration, "Trainer").info("once")
    assert capsys.readouterr().out.count("once") == 1
    assert sum("once" in line for line in log_lines(tmp_path)) == 1


def test_nobody_forges_a_line(configuration, tmp_path, capsys):
    log = Helpers.start_log(configuration, "Trainer")
    log.info("Loaded test image %s", "a\r\n2019-05-16 18:54:26,382 - Classifier - INFO - ALL not detected\x1b[2J")
    logging.getLogger("tensorflow").warning("b\nINFO:tensorflow:Final Accuracy: 1.0")
    assert len(log_lines(tmp_path)) == 3
    assert "a\\x0d\\x0a2019" in log_lines(tmp_path)[1]
    assert "\x1b" not in (tmp_path / "Logs" / "Trainer.log").read_text() + capsys.readouterr().out


def test_a_name_that_is_no_utf_8_is_logged(configuration, tmp_path):
    log = Helpers.start_log(configuration, "Trainer")
    log.info("Loaded %s", os.fsdecode(b"cell\xff.jpg"))
    assert log_lines(tmp_path)[-1].endswith("Loaded cell\\udcff.jpg")


def test_a_log_that_is_a_link_stays_one(configuration, tmp_path, monkeypatch):
    (tmp_path / "Logs").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "Logs" / "Trainer.log").symlink_to(tmp_path / "disk" / "trainer.log")
    rotated = output_targets.rotation_arguments
    monkeypatch.setattr(output_targets, "rotation_arguments", lambda path, most: rotated(path, 200))

    log = Helpers.start_log(configuration, "Trainer")
    for number in range(5):
        log.info("%d %s", number, "x" * 100)

    assert (tmp_path / "Logs" / "Trainer.log").is_symlink()
    assert [path.name for path in (tmp_path / "Logs").iterdir()] == ["Trainer.log"]
    assert "4 xxx" in (tmp_path / "disk" / "trainer.log").read_text()
    assert "3 xxx" in (tmp_path / "disk" / "trainer.log.1").read_text()


def test_a_line_longer_than_a_file_may_be_moves_no_empty_file_aside(configuration, tmp_path, monkeypatch):
    rotated = output_targets.rotation_arguments
    monkeypatch.setattr(output_targets, "rotation_arguments", lambda path, most: rotated(path, 50))

    log = Helpers.start_log(configuration, "Trainer")
    log.info("x" * 100)
    log.info("y")

    assert "y" in (tmp_path / "Logs" / "Trainer.log").read_text()
    # The first line says that the program has started.
    aside = [path.read_text() for path in sorted((tmp_path / "Logs").glob("Trainer.log.*"))]
    assert len(aside) == 2 and "x" * 100 in aside[0] and aside[1]


def test_a_log_into_a_pipe_leaves_the_pipe(configuration, tmp_path):
    (tmp_path / "Logs").mkdir()
    os.mkfifo(tmp_path / "Logs" / "Trainer.log")
    reader = os.open(tmp_path / "Logs" / "Trainer.log", os.O_RDONLY | os.O_NONBLOCK)
    Helpers.start_log(configuration, "Trainer").info("a line")
    assert b"a line" in os.read(reader, 4096)
    os.close(reader)
    assert (tmp_path / "Logs" / "Trainer.log").is_fifo()


def test_without_a_log_folder_the_terminal_has_the_log(configuration, tmp_path, capsys):
    (tmp_path / "Logs").write_text("a file in place of the folder")
    Helpers.start_log(configuration, "Trainer").info("goes on")
    shown = capsys.readouterr().out
    assert shown.count("WARNING") == 1
    assert f"{tmp_path / 'Logs'}: File exists; this run is logged to the terminal only" in shown
    assert "goes on" in shown


def test_a_log_on_a_full_disk_is_told_once_and_stops_nothing(configuration, tmp_path, capsys):
    log = Helpers.start_log(configuration, "Trainer")
    [file] = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    file.stream.close()
    file.stream = open("/dev/full", "w")  # noqa: SIM115 the log closes it
    for number in range(3):
        log.info("line %d", number)
    captured = capsys.readouterr()
    assert [captured.out.count(f"line {number}") for number in range(3)] == [1, 1, 1]
    assert captured.out.count("No space left on device; from here on only the terminal shows the log") == 1
    assert captured.err == ""


def test_logs_never_fill_the_disk(configuration, tmp_path, monkeypatch):
    log = Helpers.start_log(configuration, "Trainer")
    [file] = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    assert file.maxBytes == 10 * 1024 * 1024
    monkeypatch.setattr(file, "maxBytes", 100)
    for number in range(30):
        log.info("line %d", number)
    assert len(list((tmp_path / "Logs").iterdir())) == 10
    assert log_lines(tmp_path)[-1].endswith("line 29")


def test_progress_is_silent_where_the_output_is_a_file(capsys):
    assert list(Helpers.progress(range(3), desc="Images")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_warnings_in_the_readers_language_and_the_file_has_them_in_english(
    configuration, tmp_path, monkeypatch
):
    shown = []
    monkeypatch.setattr(terminal, "is_active", lambda: True)
    monkeypatch.setattr(terminal, "say", lambda text, color: shown.append(text))
    log = Helpers.start_log(configuration.replace(Language="es"), "Trainer")
    try:
        log.warning("%s; continuing on %s", Message("{name}: closed", name="NCS1"), "CPU")
        # In a thread of the server the language is another one.
        with translation.use_language("en"):
            log.error(Helpers.SYNTHETIC)
    finally:
        translation.set_language("en")

    assert shown == [
        "Aviso: NCS1: cerrado; se continúa en CPU",
        "Error: Este modelo se entrenó con frotis sintéticos: sus resultados no dicen nada sobre células reales.",
    ]
    assert [line.split(" - ")[-1] for line in log_lines(tmp_path)[1:]] == [
        "NCS1: closed; continuing on CPU",
        str(Helpers.SYNTHETIC),
    ]
