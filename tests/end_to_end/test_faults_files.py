"""A changed byte and a cut in every file that the toolkit reads: a line that names it, or the same answer as before."""

import random
import shutil

import numpy
import pytest

from Classes.dataset import tfrecords
from Classes.networks import checkpoint_files
from tests.support import faults, small_networks

pytestmark = pytest.mark.slow


def damages(content, count):
    """A cut, an empty file, and a number of changed bytes at places that are the same in every run."""
    generator = random.Random(len(content))
    yield content[: len(content) // 2]
    yield b""
    for _ in range(count):
        found = bytearray(content)
        found[generator.randrange(len(found))] ^= 1 << generator.randrange(8)
        yield bytes(found)


# (file, what reads it, which of the damages, whether each has to end the run)
ALL, ONE = slice(None), slice(2, 3)
READERS = [
    ("Model/Data/ALL_train_00000-of-00002.tfrecord", ["Trainer"], ALL, True),
    ("Model/Data/ALL_validation_00001-of-00002.tfrecord", ["Validation"], ALL, True),
    ("Model/ALLGraph.pb", ["Classifier"], ALL, True),
    ("Model/ALLGraph.pb", ["Trainer", "Export"], ALL, True),
    ("Model/ALLGraph.json", ["Classifier"], ALL, True),
    ("Model/ALLGraph.json", ["Validation"], ALL, True),
    ("Model/Data/ALL_manifest.json", ["Validation"], slice(0, 4), False),
    ("Model/Data/groups.csv", ["Data"], ALL, False),
    ("Model/_logs_eval/folds.json", ["Validation"], ONE, False),
    ("Model/Report/Data.json", ["Validation"], ONE, False),
    ("Model/_logs/checkpoint", ["Trainer"], ONE, False),
    ("Model/_logs/run.json", ["Trainer"], slice(0, 1), False),
]


@pytest.mark.parametrize(("name", "arguments", "chosen", "ends"), READERS)
def test_damage_is_reported_or_harmless(project, capsys, name, arguments, chosen, ends):
    path = project / name
    whole = path.read_bytes()
    for content in list(damages(whole, 6))[chosen]:
        path.write_bytes(content)
        try:
            code = faults.main(project, *arguments)
        except Exception as error:
            line = faults.line(error)
            assert path.name in line or path.with_suffix(".pb").name in line, "the line names the file"
        else:
            assert code == 0
            assert not ends
        assert "Traceback" not in capsys.readouterr().out


def test_a_damaged_checkpoint_costs_what_was_done_since_the_one_before(project, caplog):
    folder = project / "Model/_logs"
    newest = checkpoint_files.saved_steps(folder)[-1]
    saved = {
        step: checkpoint_files.read_checkpoint(folder / f"{checkpoint_files.PREFIX}{step}")
        for step in checkpoint_files.saved_steps(folder)
    }
    for suffix in (".index", checkpoint_files.DATA_SUFFIX):
        path = folder / f"{checkpoint_files.PREFIX}{newest}{suffix}"
        whole = path.read_bytes()
        for content in damages(whole, 3):
            path.write_bytes(content)
            try:
                step, found = checkpoint_files.latest_checkpoint(folder)
            except Exception as error:
                assert str(folder) in faults.line(error)
            else:
                for name, values in saved[step].items():
                    numpy.testing.assert_array_equal(found[name], values)
        path.write_bytes(whole)
    assert f"{checkpoint_files.PREFIX}{newest}:" in caplog.text


def test_damaged_pretrained_weights_are_named(project):
    shutil.rmtree(project / "Model/_logs")
    path = project / "Model/Pretrained/model.ckpt-1"
    data = path.with_name(path.name + checkpoint_files.DATA_SUFFIX)
    for content in list(damages(data.read_bytes(), 0)):
        data.write_bytes(content)
        with pytest.raises(Exception) as caught:
            faults.main(project, "Trainer")
        assert str(path) in faults.line(caught.value)


def test_damaged_features_are_named_and_computed_again(project, capsys):
    [path] = (project / "Model/Features").rglob("*.npz")
    before = path.read_bytes()
    for content in list(damages(before, 2))[:3:2]:
        path.write_bytes(content)
        shutil.rmtree(project / "Model/_logs")
        assert faults.main(project, "Trainer") == 0
        assert f"{path}:" in capsys.readouterr().out
        assert path.read_bytes() == before


def test_a_shard_that_breaks_after_it_was_checked(project):
    configuration = small_networks.configuration(project)
    path = tfrecords.load_manifest(configuration).paths("train")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(Exception) as caught:
        list(tfrecords.iter_records(configuration, "train"))
    assert caught.value.code == "damaged_shards"
