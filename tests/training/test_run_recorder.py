import pathlib

from tensorboard.backend.event_processing import event_multiplexer
from tensorboard.util import tensor_util

from Classes.evaluation import runs
from Classes.training import run_recorder

SETTINGS = {"LearningRate": 0.125, "Network": "AllCNN", "Epochs": 3, "DistortionFlip": True}


def record(folder, epochs, loss=1.0):
    recorder = run_recorder.RunRecorder(folder, SETTINGS)
    for epoch in epochs:
        metrics = {"loss": loss / epoch, "accuracy": 0.5}
        recorder.record_epoch(epoch, 10 * epoch, 0.125, metrics, {**metrics, "auc": float("nan")})
    recorder.close()


def scalars(folder):
    """{run: {tag: [(step, value)]}} as TensorBoard reads them."""
    events = event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
    events.Reload()
    return {
        run: {
            tag: [
                (event.step, tensor_util.make_ndarray(event.tensor_proto).item()) for event in events.Tensors(run, tag)
            ]
            for tag in found["tensors"]
            if not tag.startswith("_hparams_")
        }
        for run, found in events.Runs().items()
    }


def test_training_and_validation_have_equal_tags_in_two_folders(tmp_path):
    record(tmp_path, (1, 2))

    found = scalars(tmp_path)

    assert found["train"] == {"loss": [(10, 1.0), (20, 0.5)], "accuracy": [(10, 0.5), (20, 0.5)]}
    assert found["validation"] == found["train"], "and an AUC that is not a number is left out"


def test_the_table_has_a_row_per_epoch_and_a_resumed_run_replaces_what_it_repeats(tmp_path):
    record(tmp_path, (1, 2, 3), loss=9)
    record(tmp_path, (3, 4), loss=3)

    rows = runs.read_results(tmp_path)

    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["train_loss"] for row in rows] == [9, 4.5, 1, 0.75]
    assert rows[0]["step"] == 10
    assert rows[0]["learning_rate"] == 0.125
    assert rows[0]["validation_auc"] is None


def test_the_settings_are_hyperparameters(tmp_path):
    from tensorboard.plugins.hparams import plugin_data_pb2

    record(tmp_path, (1,))

    events = event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    events.Reload()
    content = events.SummaryMetadata(".", "_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["LearningRate"].number_value == 0.125
    assert start.hparams["Network"].string_value == "AllCNN"
    assert start.hparams["DistortionFlip"].bool_value is True


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    record(None, (1, 2))

    assert not list(pathlib.Path().iterdir())
