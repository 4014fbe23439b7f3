import numpy
import pytest

from Classes.training import feature_store

NAMES = numpy.array([letter * 64 for letter in "abcdef"], "S64")
FEATURES = numpy.arange(18, dtype="float32").reshape(6, 3)


@pytest.fixture
def store(tmp_path):
    store = feature_store.FeatureStore(tmp_path / "features")
    store.append([(NAMES[:2], FEATURES[:2]), (NAMES[2:4], FEATURES[2:4])])
    return store


def test_features_are_found_by_the_hash_of_the_image(store):
    rows = store.find(NAMES[[3, 5, 0]])

    assert rows.tolist() == [3, -1, 0]
    numpy.testing.assert_array_equal(store.select(rows[[0, 2]])[:], FEATURES[[3, 0]])


def test_more_features_leave_those_before(store):
    store.append([(NAMES[4:], FEATURES[4:])])

    found = store.select(store.find(NAMES[::-1]))

    assert len(found) == 6
    numpy.testing.assert_array_equal(found[:], FEATURES[::-1])
    numpy.testing.assert_array_equal(found[numpy.array([4, 4, 1])], FEATURES[[1, 1, 4]])
    numpy.testing.assert_array_equal(found.select(numpy.array([5, 0, 3]))[1:], FEATURES[[5, 2]])
    assert found[:0].shape == (0, 3)


def test_an_append_that_breaks_off_adds_nothing(store, tmp_path):
    def broken():
        yield NAMES[4:5], FEATURES[4:5]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.append(broken())
    assert store.find(NAMES).tolist() == [0, 1, 2, 3, -1, -1]

    store.append([(NAMES[5:], FEATURES[5:])])

    numpy.testing.assert_array_equal(store.select(store.find(NAMES[[5, 2]]))[:], FEATURES[[5, 2]])
    assert (tmp_path / "features/features.bin").stat().st_size == 5 * 3 * 4


def test_a_damaged_row_is_missing_until_it_is_added_again(store, tmp_path, caplog):
    path = tmp_path / "features/features.bin"
    content = bytearray(path.read_bytes())
    content[13] ^= 1  # in row 1
    path.write_bytes(content)

    assert store.find(NAMES[:4]).tolist() == [0, -1, 2, 3]
    assert "1 images" in caplog.text

    store.append([(NAMES[1:2], FEATURES[1:2])])
    assert store.find(NAMES[:4]).tolist() == [0, 4, 2, 3]
    numpy.testing.assert_array_equal(store.select(numpy.array([4]))[:], FEATURES[1:2])


def test_archives_of_earlier_versions_are_removed(store, tmp_path):
    former = tmp_path / "features/000001.npz"
    former.write_bytes(b"")

    store.append([(NAMES[4:], FEATURES[4:])])

    assert not former.exists()
    assert store.find(NAMES[:1]).tolist() == [0]


@pytest.mark.parametrize("size", [1, 100, 5000, 1 << 24])
def test_mean_and_deviation_are_those_of_one_array(monkeypatch, size):
    monkeypatch.setattr(feature_store, "BLOCK_BYTES", size)
    features = numpy.random.default_rng(0).gamma(1, 1, (301, 7)).astype("float32")

    mean, deviation = feature_store.moments(features)

    numpy.testing.assert_array_equal(mean, features.mean(0))
    numpy.testing.assert_array_equal(deviation, features.std(0))


def test_blocks_hold_every_row_once(monkeypatch):
    monkeypatch.setattr(feature_store, "BLOCK_BYTES", 24)  # two rows of three

    blocks = list(feature_store.blocks_of(FEATURES[:5]))

    assert [(start, len(block)) for start, block in blocks] == [(0, 2), (2, 2), (4, 1)]
    numpy.testing.assert_array_equal(numpy.concatenate([block for _, block in blocks]), FEATURES[:5])
