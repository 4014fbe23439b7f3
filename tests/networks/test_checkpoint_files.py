import numpy
import pytest
import tensorflow as tf

from Classes.common.errors import CheckpointError
from Classes.networks import checkpoint_files
from tests.support.errors import raises


def values(number):
    return {"InceptionV3/a/weights": numpy.full((2, 3), number, "float32"), "global_step": numpy.int64(number)}


def test_what_is_saved_is_read_back(tmp_path):
    checkpoint_files.save_checkpoint(tmp_path, 7, values(7))

    step, found = checkpoint_files.latest_checkpoint(tmp_path)

    assert step == 7
    assert found["global_step"] == 7
    numpy.testing.assert_array_equal(found["InceptionV3/a/weights"], values(7)["InceptionV3/a/weights"])


def test_slims_own_reader_finds_the_newest(tmp_path):
    for step in (1, 2):
        checkpoint_files.save_checkpoint(tmp_path, step, values(step))

    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-2")


def test_two_are_kept(tmp_path):
    for step in (9, 10, 100):
        checkpoint_files.save_checkpoint(tmp_path, step, values(step))

    assert checkpoint_files.saved_steps(tmp_path) == [10, 100]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "model.ckpt-10.data-00000-of-00001",
        "model.ckpt-10.index",
        "model.ckpt-100.data-00000-of-00001",
        "model.ckpt-100.index",
    ]


@pytest.mark.parametrize("suffix", [checkpoint_files.DATA_SUFFIX, ".index"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, caplog, suffix, damage):
    for step in (1, 2):
        checkpoint_files.save_checkpoint(tmp_path, step, values(step))
    file = tmp_path / f"model.ckpt-2{suffix}"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes({"cut": content[:-9], "flip": content, "empty": b""}[damage])

    step, found = checkpoint_files.latest_checkpoint(tmp_path)

    assert (step, found["global_step"]) == (1, 1)
    assert "model.ckpt-2" in caplog.text


def test_a_damaged_one_beyond_does_not_cost_the_whole_ones(tmp_path):
    for step in (10, 20):
        checkpoint_files.save_checkpoint(tmp_path, step, {"w": numpy.float32([step])})
    (tmp_path / "model.ckpt-20.index").write_bytes(b"cut")
    assert checkpoint_files.latest_checkpoint(tmp_path)[0] == 10

    checkpoint_files.save_checkpoint(tmp_path, 15, {"w": numpy.float32([15])})

    assert checkpoint_files.saved_steps(tmp_path) == [10, 15]
    assert checkpoint_files.latest_checkpoint(tmp_path)[0] == 15


def test_nothing_whole_is_an_error(tmp_path):
    checkpoint_files.save_checkpoint(tmp_path, 1, values(1))
    (tmp_path / f"model.ckpt-1{checkpoint_files.DATA_SUFFIX}").write_bytes(b"")

    with pytest.raises(CheckpointError) as raised:
        checkpoint_files.latest_checkpoint(tmp_path)
    assert raised.value.code == "all_checkpoints_damaged"


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint_files.latest_checkpoint(tmp_path) is None


def test_leftovers_of_a_killed_run_go(tmp_path):
    (tmp_path / ".model.ckpt-3.0123456789ab.tmp").mkdir()
    (tmp_path / "model.ckpt-3.data-00000-of-00001").write_bytes(b"an index never followed")

    assert checkpoint_files.latest_checkpoint(tmp_path) is None
    checkpoint_files.save_checkpoint(tmp_path, 4, {"weights": numpy.zeros(1, "float32")})
    assert not list(tmp_path.glob(".*"))
    assert checkpoint_files.latest_checkpoint(tmp_path)[0] == 4


def test_a_failed_write_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoint_files.save_checkpoint(tmp_path, 1, values(1))

    def full(**_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", full)
    with raises(CheckpointError, "write_failed"):
        checkpoint_files.save_checkpoint(tmp_path, 2, values(2))

    assert checkpoint_files.latest_checkpoint(tmp_path)[0] == 1
    assert not list(tmp_path.glob(".*"))
