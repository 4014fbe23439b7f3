import json
import logging
import os
import pathlib

import pytest

from Classes import Helpers
from Classes.common import atomic_files
from Classes.common.errors import ConfigurationError

# The configuration of the original documents, so that an old confs.json keeps its meaning.
HISTORIC = {
    "Settings": {"Logs": "Logs/"},
    "Classifier": {
        "ALLGraph": "Model/ALLGraph.pb",
        "BatchSize": 10,
        "BatchTestSize": 30,
        "Classes": "Classes.txt",
        "DatasetDir": "Model/Data",
        "Domain": "",
        "Epochs": 65,
        "EpochsTest": 1,
        "EpochsDevCloud": 40,
        "EpochsBeforeDecay": 10,
        "FilePattern": "ALL_%s_*.tfrecord",
        "ImageSize": 299,
        "InceptionThreshold": 0.8,
        "InceptionGraph": "Model/ALL.graph",
        "IP": "",
        "Labels": "Labels.txt",
        "LearningRate": 0.0001,
        "LearningRateDecay": 0.8,
        "LogDir": "Model/_logs",
        "LogDirEval": "Model/_logs_eval",
        "Mean": 128,
        "NetworkPath": "",
        "NumClasses": 2,
        "OutputNode": "InceptionV3/Predictions/Softmax",
        "Port": 8080,
        "RandomSeed": 50,
        "Shards": 10,
        "TestImagePath": "Model/Test",
        "TFRecordFile": "ALL",
        "TFRecordPattern": "ALL_%s_*.tfrecord",
        "ValidationSize": 0.3,
        # The last four are newer: ALL-IDB comes as .tif, C-NMC as .bmp.
        "ValidIType": [
            ".JPG",
            ".JPEG",
            ".PNG",
            ".GIF",
            ".jpg",
            ".jpeg",
            ".png",
            ".gif",
            ".bmp",
            ".tif",
            ".tiff",
            ".webp",
        ],
    },
}
SCHEMA = json.loads(Helpers.SCHEMA.read_text(encoding="utf-8"))
RULES = SCHEMA["properties"]["Classifier"]["properties"]


def write(folder, values):
    path = folder / "confs.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def message(*arguments):
    with pytest.raises(ConfigurationError) as caught:
        Helpers.load_config(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("key", HISTORIC["Classifier"])
def test_every_historic_key_has_its_historic_value(key):
    assert Helpers.load_config()[key] == HISTORIC["Classifier"][key]
    assert type(Helpers.load_config()[key]) is type(HISTORIC["Classifier"][key])


def test_the_log_folder_is_the_historic_one():
    assert Helpers.load_config().values["Settings"] == HISTORIC["Settings"]
    assert Helpers.load_config().logs == Helpers.PROJECT / "Logs"


def test_an_old_configuration_means_what_it_meant(tmp_path):
    assert Helpers.load_config(write(tmp_path, HISTORIC)).values == Helpers.load_config().values


def test_the_schemas_defaults_are_the_shipped_values(tmp_path):
    shipped = json.loads(Helpers.CONFIGURATION.read_text(encoding="utf-8"))
    assert Helpers.load_config(write(tmp_path, {})).values == shipped


@pytest.mark.parametrize("key", RULES)
def test_every_key_is_described_and_bounded(key):
    rule = RULES[key]
    assert len(rule["description"]) > 10
    if rule["type"] in ("integer", "number"):
        assert {"minimum", "exclusiveMinimum"} & set(rule)
        assert {"maximum", "exclusiveMaximum"} & set(rule)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"Classifier": {"Epoch": 5}}, "there is no key Epoch in Classifier; did you mean Epochs?"),
        ({"Classifier": {"learningrate": 1}}, "there is no key learningrate in Classifier; did you mean LearningRate?"),
        ({"Clasifier": {}}, "there is no key Clasifier; did you mean Classifier?"),
        ({"Settings": {"Zzzzzzz": 1}}, "there is no key Zzzzzzz in Settings; the keys are Logs"),
        ({"Classifier": {"Epochs": "65"}}, 'Classifier.Epochs is "65"; allowed: a whole number from 1 up to 100000'),
        ({"Classifier": {"Epochs": 6.5}}, "Classifier.Epochs is 6.5; allowed: a whole number from 1 up to 100000"),
        ({"Classifier": {"Epochs": True}}, "Classifier.Epochs is true; allowed: a whole number from 1 up to 100000"),
        ({"Classifier": {"Epochs": None}}, "Classifier.Epochs is null; allowed: a whole number from 1 up to 100000"),
        ({"Classifier": {"Epochs": 0}}, "Classifier.Epochs is 0; allowed: a whole number from 1 up to 100000"),
        ({"Classifier": {"Port": 65536}}, "Classifier.Port is 65536; allowed: a whole number from 0 up to 65535"),
        ({"Classifier": {"ValidationSize": 1}}, "Classifier.ValidationSize is 1; allowed: a number above 0 below 1"),
        ({"Classifier": {"Precision": "fp16"}}, 'Precision is "fp16"; allowed: "AUTO" or "f32" or "bf16"'),
        ({"Classifier": {"Labels": ""}}, 'Classifier.Labels is ""; allowed: a text of at least 1 character(s)'),
        ({"Classifier": {"ValidIType": "jpg"}}, 'Classifier.ValidIType is "jpg"; allowed: a list of at least 1 item'),
        ({"Classifier": {"ValidIType": [".png", "jpg"]}}, 'ValidIType.1 is "jpg"; allowed: a text that matches'),
        ({"Classifier": {"GroupPattern": "("}}, 'Classifier.GroupPattern is "("; allowed: a text'),
        ({"Classifier": []}, "Classifier is []; allowed: an object"),
        ({"Classifier": {"LogDir": "a\0"}}, 'Classifier.LogDir is "a\\u0000"; allowed: a text in UTF-8 without \\0'),
        ([], "a JSON object with"),
    ],
)
def test_a_mistake_is_one_message_with_key_value_and_what_is_allowed(tmp_path, values, expected):
    path = write(tmp_path, values)
    found = message(path)
    assert found.startswith(f"{path}: ")
    assert expected in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"Classifier": {"Mean": NaN}}', '{"Classifier": {"Mean": -Infinity}}', '{"Mean": 1e999}', "[" * 100_000],
)
def test_what_is_no_json_is_one_message(tmp_path, text):
    found = message(write(tmp_path, text))
    assert "no JSON (" in found
    assert "mend it or start from the one in Required/" in found


def test_bytes_that_are_no_text_are_one_message(tmp_path):
    (tmp_path / "confs.json").write_bytes(b"\xff\xfe{\x00")
    assert "no JSON (" in message(tmp_path / "confs.json")


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, name):
    assert "give a configuration with --confs PATH" in message(tmp_path / name)


def test_a_byte_order_mark_of_windows_does_no_harm(tmp_path):
    path = tmp_path / "confs.json"
    path.write_bytes(b'\xef\xbb\xbf{"Classifier": {"Epochs": 5}}')
    assert Helpers.load_config(path)["Epochs"] == 5


def test_a_whole_number_may_be_written_with_a_point(tmp_path):
    epochs = Helpers.load_config(write(tmp_path, '{"Classifier": {"Epochs": 5.0}}'))["Epochs"]
    assert type(epochs) is int
    assert epochs == 5


def test_keys_left_out_have_their_default(tmp_path):
    configuration = Helpers.load_config(write(tmp_path, {"Classifier": {"Epochs": 5}}))
    assert configuration["Epochs"] == 5
    assert configuration["BatchSize"] == 10
    assert configuration.values["Settings"]["Logs"] == "Logs/"


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("Epochs=5", "Epochs", 5),
        ("Classifier.Epochs=5", "Epochs", 5),
        (" Epochs =5", "Epochs", 5),
        ("LearningRate=1e-3", "LearningRate", 0.001),
        ("TestImagePath=My slides/März=1", "TestImagePath", "My slides/März=1"),
        ('TestImagePath="a b"', "TestImagePath", "a b"),
        ("PositiveClass=1", "PositiveClass", "1"),
        ("IP=", "IP", ""),
        ("IP=0.0.0.0", "IP", "0.0.0.0"),
        ("Pretrained=none", "Pretrained", "none"),
        ('ValidIType=[".bmp"]', "ValidIType", [".bmp"]),
    ],
)
def test_set_overrides_one_key_for_one_run(setting, key, value):
    assert Helpers.load_config(None, [setting])[key] == value
    assert Helpers.load_config()[key] == HISTORIC["Classifier"].get(key, RULES[key]["default"])


def test_the_last_of_several_settings_counts(tmp_path):
    path = write(tmp_path, {"Classifier": {"Epochs": 7, "BatchSize": 3}})
    configuration = Helpers.load_config(path, ["Epochs=5", "Epochs=6"])
    assert (configuration["Epochs"], configuration["BatchSize"]) == (6, 3)


def test_settings_has_a_section_of_its_own():
    assert Helpers.load_config(None, ["Settings.Logs=/tmp/x"]).logs == pathlib.Path("/tmp/x")
    assert Helpers.load_config(None, ["Logs=/tmp/x"]).logs == pathlib.Path("/tmp/x")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("Epochs", "--set Epochs: write Key=value, for instance --set Epochs=5"),
        ("Epoch=5", "--set Epoch=5: there is no key Epoch; did you mean Epochs?"),
        ("Clasifier.Epochs=5", "there is no key Clasifier.Epochs; did you mean Classifier.Epochs?"),
        ("=5", "there is no key ; the README lists all keys"),
        ("Epochs=", '--set: Classifier.Epochs is ""; allowed: a whole number'),
        ("Epochs=many", '--set: Classifier.Epochs is "many"; allowed: a whole number'),
        ("LearningRate=NaN", '--set: Classifier.LearningRate is "NaN"; allowed: a number'),
        ("LogDir=\udcff", '--set: Classifier.LogDir is "\\udcff"; allowed: a text in UTF-8'),
        ("BatchSize=0", "--set: Classifier.BatchSize is 0; allowed: a whole number from 1 up to 4096"),
    ],
)
def test_a_wrong_setting_is_one_message(setting, expected):
    assert expected in message(None, [setting])


def test_an_empty_ip_is_this_machine_only():
    assert Helpers.load_config(None, ["IP="]).address == "127.0.0.1"
    assert Helpers.load_config(None, ["IP=192.168.1.5"]).address == "192.168.1.5"


def test_relative_paths_are_the_projects_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configuration = Helpers.load_config()
    assert configuration.path("DatasetDir") == Helpers.PROJECT / "Model" / "Data"
    assert configuration.card == Helpers.PROJECT / "Model" / "ALLGraph.json"
    assert configuration.path("DatasetDir").is_absolute()


def test_network_path_moves_relative_paths_and_leaves_absolute_ones(tmp_path):
    configuration = Helpers.load_config(None, [f"NetworkPath={tmp_path}", "TestImagePath=/somewhere/else"])
    assert configuration.path("DatasetDir") == tmp_path / "Model" / "Data"
    assert configuration.logs == tmp_path / "Logs"
    assert configuration.path("TestImagePath") == pathlib.Path("/somewhere/else")


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    configuration = Helpers.load_config(None, ["DatasetDir=~/cells", "LogDir=~nobody-of-that-name/logs"])
    assert configuration.path("DatasetDir") == pathlib.Path("/home/me/cells")
    with pytest.raises(ConfigurationError, match=r"~nobody-of-that-name/logs: .*write the path out"):
        configuration.path("LogDir")


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
    rotated = atomic_files.rotated
    monkeypatch.setattr(atomic_files, "rotated", lambda path, most: rotated(path, 200))

    log = Helpers.start_log(configuration, "Trainer")
    for number in range(5):
        log.info("%d %s", number, "x" * 100)

    assert (tmp_path / "Logs" / "Trainer.log").is_symlink()
    assert [path.name for path in (tmp_path / "Logs").iterdir()] == ["Trainer.log"]
    assert "4 xxx" in (tmp_path / "disk" / "trainer.log").read_text()
    assert "3 xxx" in (tmp_path / "disk" / "trainer.log.1").read_text()


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


def test_no_number_of_workers_means_the_processor_cores(tmp_path):
    none, given = (
        Helpers.load_config(settings=[f"NetworkPath={tmp_path}", f"Workers={number}", f"ServerWorkers={number}"])
        for number in (0, 3)
    )

    assert (none.workers, none.server_workers) == (os.cpu_count(), os.cpu_count() + 2)
    assert (given.workers, given.server_workers) == (3, 3)


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
