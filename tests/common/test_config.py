import json
import os
import pathlib

import jsonschema
import pytest

from Classes import Helpers
from Classes.common import config_schema
from Classes.common.errors import ConfigurationError
from tests.support import config_keys

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
DEAD = ("FilePattern", "OutputNode", "TFRecordPattern")
KEYS = config_schema.keys()
OLDER_NAMES = {name: key.name for name, key in KEYS.items() if name != key.name}


def write(folder, values):
    path = folder / "confs.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def error(*arguments):
    with pytest.raises(ConfigurationError) as caught:
        Helpers.load_config(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.mark.parametrize("key", [key for key in HISTORIC["Classifier"] if key not in DEAD])
def test_every_historic_key_has_its_historic_value(key):
    assert Helpers.load_config()[key] == HISTORIC["Classifier"][key]
    assert type(Helpers.load_config()[key]) is type(HISTORIC["Classifier"][key])


def test_the_log_folder_is_the_historic_one():
    assert Helpers.load_config().logs == Helpers.PROJECT / "Logs"


@pytest.mark.parametrize("section", ["Classifier", "Server"])
def test_an_old_configuration_has_the_same_values(tmp_path, section):
    old = {"Settings": HISTORIC["Settings"], section: HISTORIC["Classifier"]}
    assert Helpers.load_config(write(tmp_path, old)).values == Helpers.load_config().values


def test_keys_without_effect_are_accepted_and_logged(tmp_path, capsys):
    configuration = Helpers.load_config(write(tmp_path, HISTORIC), [f"NetworkPath={tmp_path}"])
    Helpers.start_log(configuration, "Trainer")
    assert sorted(configuration.ignored) == sorted(DEAD)
    [line] = [line for line in capsys.readouterr().out.splitlines() if "OutputNode" in line]
    assert all(key in line for key in DEAD)


def test_the_shipped_configuration_gives_no_key_without_effect():
    assert Helpers.load_config().ignored == []


def test_the_schemas_defaults_are_the_shipped_values(tmp_path):
    shipped = json.loads(Helpers.CONFIGURATION.read_text(encoding="utf-8"))
    defaults = Helpers.load_config(write(tmp_path, {})).values
    assert defaults == Helpers.load_config().values
    assert {section: set(keys) for section, keys in defaults.items()} == {
        section: set(keys) for section, keys in shipped.items()
    }


NAMES = ("ALLGraph", "InceptionGraph", "TFRecordFile", "MqttTopic")
AML_NAMES = ["Model/AMLGraph.pb", "Model/AML.graph", "AML", "AML/Verdicts"]


def test_names_of_files_follow_the_condition(tmp_path):
    configuration = Helpers.load_config(write(tmp_path, {}), ["Condition=AML"])
    assert [configuration[key] for key in NAMES] == AML_NAMES
    assert configuration.card.name == "AMLGraph.json"
    shipped = Helpers.load_config(None, ["Condition=AML"])
    assert [shipped[key] for key in NAMES] == AML_NAMES


def test_an_explicit_name_takes_precedence_over_the_condition(tmp_path):
    given = {"Classifier": {"Condition": "AML", "ALLGraph": "Model/ALLGraph.pb", "TFRecordFile": "ALL"}}
    configuration = Helpers.load_config(write(tmp_path, given), ["InceptionGraph=old_{condition}.graph"])
    assert [configuration[key] for key in NAMES] == ["Model/ALLGraph.pb", "old_AML.graph", "ALL", "AML/Verdicts"]


def test_a_condition_can_be_described(tmp_path):
    condition = {"short": "Chagas/T. cruzi", "long": "Chagas disease", "source": "ICD-11 1F53"}
    configuration = Helpers.load_config(write(tmp_path, {"Data": {"Condition": condition}}))
    assert configuration.condition.detected_text(False) == "Chagas/T. cruzi not detected"
    assert configuration["MqttTopic"] == "Chagas_T._cruzi/Verdicts"
    assert Helpers.load_config(None, [f"Condition={json.dumps(condition)}"]).condition == configuration.condition


@pytest.mark.parametrize(
    "condition",
    [
        "CML",
        5,
        {},
        {"short": "X"},
        {"short": "X", "long": ""},
        {"short": "X\n", "long": "x"},
        {"short": "X", "long": "x", "y": 1},
    ],
)
def test_a_condition_needs_a_short_and_a_long_name(tmp_path, condition):
    assert error(write(tmp_path, {"Data": {"Condition": condition}})).code == "invalid_value"


def test_the_shipped_configuration_satisfies_the_schema():
    jsonschema.validate(json.loads(Helpers.CONFIGURATION.read_text()), config_schema.read_schema())


@pytest.mark.parametrize("key", [key for key in KEYS if KEYS[key].has_effect])
def test_every_key_is_described_and_bounded(key):
    rule = KEYS[key].rule
    assert len(rule["description"]) > 10
    if rule["type"] in ("integer", "number"):
        assert {"minimum", "exclusiveMinimum"} & set(rule)
        assert {"maximum", "exclusiveMaximum"} & set(rule)


def test_every_key_is_in_one_section():
    names = [name for section in config_schema.sections().values() for name in section]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("older", "current"), [each for each in OLDER_NAMES.items() if each[0] != "DropoutKeep"])
def test_an_older_name_sets_the_current_key(tmp_path, older, current):
    value = True if KEYS[current].rule["type"] == "boolean" else 1 if KEYS[current].rule["type"] == "integer" else 0.5
    for section in ("Classifier", KEYS[current].section):
        assert Helpers.load_config(write(tmp_path, {section: {older: value}}))[current] == value
    assert Helpers.load_config(None, [f"{older}={json.dumps(value)}"])[current] == value


@pytest.mark.parametrize(("keep", "rate"), [(0.8, 0.2), (1, 0), (0.3, 0.7)])
def test_dropout_keep_is_one_minus_dropout_rate(tmp_path, keep, rate):
    assert Helpers.load_config(write(tmp_path, {"Classifier": {"DropoutKeep": keep}}))["DropoutRate"] == rate
    assert Helpers.load_config(None, [f"DropoutKeep={keep}"])["DropoutRate"] == rate
    assert 1 - Helpers.load_config()["DropoutRate"] == 0.8


@pytest.mark.parametrize("value", ["true", '"x"', "0", "1.5"])
def test_dropout_keep_has_limits(value):
    found = error(None, [f"DropoutKeep={value}"])
    assert found.code == "invalid_value"
    assert "DropoutKeep" in str(found)


@pytest.mark.parametrize(
    "values",
    [
        {"Training": {"DropoutKeep": 0.8, "DropoutRate": 0.2}},
        {"Classifier": {"CallerRate": 1, "RateLimitPerMinute": 1}},
        {"Classifier": {"CallerRate": 1}, "Serving": {"RateLimitPerMinute": 1}},
        {"Classifier": {"Epochs": 5}, "Training": {"Epochs": 5}},
    ],
)
def test_the_same_key_twice_is_an_error(tmp_path, values):
    assert error(write(tmp_path, values)).code == "duplicate_key"


def test_an_older_and_a_current_name_on_the_command_line_are_an_error():
    assert error(None, ["Drain=1", "ShutdownTimeout=1"]).code == "duplicate_key"


def test_a_setting_overrides_an_older_name_in_the_file(tmp_path):
    path = write(tmp_path, {"Classifier": {"Drain": 1}})
    assert Helpers.load_config(path, ["ShutdownTimeout=2"])["ShutdownTimeout"] == 2


@pytest.mark.parametrize(
    ("values", "code", "named"),
    [
        ({"Classifier": {"Epoch": 5}}, "unknown_key", ("Epoch", "Classifier", "Epochs")),
        ({"Training": {"learningrate": 1}}, "unknown_key", ("learningrate", "Training", "LearningRate")),
        ({"Clasifier": {}}, "unknown_key", ("Clasifier",)),
        ({"Settings": {"Zzzzzzz": 1}}, "unknown_key", ("Zzzzzzz", "Settings", "Logs")),
        ({"Training": {"Port": 1}}, "wrong_section", ("Port", "Training", "Serving")),
        ({"Classifier": {"Epochs": "65"}}, "invalid_value", ("Classifier.Epochs", '"65"', "1", "100000")),
        ({"Training": {"Epochs": "65"}}, "invalid_value", ("Training.Epochs", '"65"', "1", "100000")),
        ({"Classifier": {"Epochs": 6.5}}, "invalid_value", ("Epochs", "6.5")),
        ({"Classifier": {"Epochs": True}}, "invalid_value", ("Epochs", "true")),
        ({"Classifier": {"Epochs": None}}, "invalid_value", ("Epochs", "null")),
        ({"Classifier": {"Epochs": 0}}, "invalid_value", ("Epochs", "0")),
        ({"Classifier": {"Port": 65536}}, "invalid_value", ("Port", "65536", "65535")),
        ({"Classifier": {"ValidationSize": 1}}, "invalid_value", ("ValidationSize", "above 0", "below 1")),
        ({"Classifier": {"Precision": "fp16"}}, "invalid_value", ("Precision", '"fp16"', '"AUTO"', '"bf16"')),
        ({"Classifier": {"Labels": ""}}, "invalid_value", ("Labels", '""')),
        ({"Classifier": {"ValidIType": "jpg"}}, "invalid_value", ("ValidIType", '"jpg"')),
        ({"Classifier": {"ValidIType": [".png", "jpg"]}}, "invalid_value", ("ValidIType.1", '"jpg"')),
        ({"Classifier": {"GroupPattern": "("}}, "invalid_value", ("GroupPattern", '"("')),
        ({"Classifier": {"CallerRate": -1}}, "invalid_value", ("CallerRate", "RateLimitPerMinute", "-1")),
        ({"Classifier": []}, "invalid_value", ("Classifier", "[]")),
        ({"Classifier": {"LogDir": "a\0"}}, "invalid_value", ("LogDir", '"a\\u0000"')),
        ([], "invalid_value", ("JSON object",)),
    ],
)
def test_a_mistake_is_one_message_with_the_key_the_value_and_what_is_allowed(tmp_path, values, code, named):
    path = write(tmp_path, values)
    found = error(path)
    assert found.code == code
    assert str(found).startswith(f"{path}: ")
    assert all(each in str(found) for each in named)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"Classifier": {"Mean": NaN}}', '{"Classifier": {"Mean": -Infinity}}', '{"Mean": 1e999}', "[" * 100_000],
)
def test_what_is_no_json_is_one_message(tmp_path, text):
    assert error(write(tmp_path, text)).code == "not_json"


def test_bytes_that_are_no_text_are_one_message(tmp_path):
    (tmp_path / "confs.json").write_bytes(b"\xff\xfe{\x00")
    assert error(tmp_path / "confs.json").code == "not_json"


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, name):
    found = error(tmp_path / name)
    assert found.code == "unreadable_configuration"
    assert "--confs" in str(found)


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
        ("Training.Epochs=5", "Epochs", 5),
        (" Epochs =5", "Epochs", 5),
        ("LearningRate=1e-3", "LearningRate", 0.001),
        ("TestImagePath=My slides/März=1", "TestImagePath", "My slides/März=1"),
        ('TestImagePath="a b"', "TestImagePath", "a b"),
        ("PositiveClass=1", "PositiveClass", "1"),
        ("PositiveClass=", "PositiveClass", ""),
        ("PositiveClass=[Malignant] Pre-B", "PositiveClass", "[Malignant] Pre-B"),
        ('PositiveClass=["Pre-B","Pro-B"]', "PositiveClass", ["Pre-B", "Pro-B"]),
        ('ClassGroups={"Blood":["LY","MO"]}', "ClassGroups", {"Blood": ["LY", "MO"]}),
        ("IP=", "IP", ""),
        ("IP=0.0.0.0", "IP", "0.0.0.0"),
        ("Pretrained=none", "Pretrained", "none"),
        ('ValidIType=[".bmp"]', "ValidIType", [".bmp"]),
    ],
)
def test_set_overrides_one_key_for_one_run(setting, key, value):
    assert Helpers.load_config(None, [setting])[key] == value
    assert Helpers.load_config()[key] == KEYS[key].rule["default"]


def test_the_last_of_several_settings_counts(tmp_path):
    path = write(tmp_path, {"Classifier": {"Epochs": 7, "BatchSize": 3}})
    configuration = Helpers.load_config(path, ["Epochs=5", "Epochs=6"])
    assert (configuration["Epochs"], configuration["BatchSize"]) == (6, 3)


def test_settings_has_a_section_of_its_own():
    assert Helpers.load_config(None, ["Settings.Logs=/tmp/x"]).logs == pathlib.Path("/tmp/x")
    assert Helpers.load_config(None, ["Logs=/tmp/x"]).logs == pathlib.Path("/tmp/x")


@pytest.mark.parametrize(
    ("setting", "code", "named"),
    [
        ("Epochs", "invalid_override", "--set Epochs=5"),
        ("Epoch=5", "unknown_key", "Epochs?"),
        ("Clasifier.Epochs=5", "unknown_key", "Classifier.Epochs?"),
        ("Serving.Epochs=5", "unknown_key", "Serving.Epochs"),
        ("=5", "unknown_key", "docs/configuration.md"),
        ("Epochs=", "invalid_value", 'Epochs is ""'),
        ("Epochs=many", "invalid_value", 'Epochs is "many"'),
        ("LearningRate=NaN", "invalid_value", 'LearningRate is "NaN"'),
        ("LogDir=\udcff", "invalid_value", 'LogDir is "\\udcff"'),
        ("BatchSize=0", "invalid_value", "BatchSize is 0"),
    ],
)
def test_a_wrong_setting_is_one_message(setting, code, named):
    found = error(None, [setting])
    assert found.code == code
    assert str(found).startswith("--set")
    assert named in str(found)


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
    with pytest.raises(ConfigurationError) as caught:
        configuration.path("LogDir")
    assert caught.value.code == "no_home_folder"


def test_no_number_of_workers_means_the_processor_cores(tmp_path):
    none, given = (
        Helpers.load_config(settings=[f"NetworkPath={tmp_path}", f"Workers={number}", f"ServerWorkers={number}"])
        for number in (0, 3)
    )

    assert (none.workers, none.server_workers) == (os.cpu_count(), os.cpu_count() + 2)
    assert (given.workers, given.server_workers) == (3, 3)


def test_a_copy_with_another_value_leaves_the_configuration_as_it_is():
    configuration = Helpers.load_config()
    changed = configuration.replace(Device="CPU")
    assert (configuration["Device"], changed["Device"]) == ("AUTO", "CPU")
    assert (configuration.values["Devices"]["Device"], changed.values["Devices"]["Device"]) == ("AUTO", "CPU")


def test_the_schema_lists_the_scripts_that_read_each_key():
    found = config_keys.scripts_of_keys()
    expected = {name: KEYS[name].rule.get("scripts", []) for name in found}
    assert found == expected, "run python3 -m tests.support.config_keys"


def test_every_key_is_read_by_a_script():
    # The job in Required/cluster reads EpochsDevCloud.
    unread = {key.name for key in KEYS.values() if key.has_effect and not key.rule["scripts"]}
    assert unread == {"EpochsDevCloud"}


def test_an_unavailable_language_is_an_error():
    with pytest.raises(ConfigurationError) as error:
        Helpers.load_config(settings=["Language=fr"])

    assert error.value.code == "invalid_value"


def test_the_language_is_that_of_the_system_unless_it_is_set(monkeypatch):
    monkeypatch.setenv("LC_ALL", "es_ES.UTF-8")

    assert Helpers.load_config().language == "es"
    assert Helpers.load_config(settings=["Language=en"]).language == "en"
