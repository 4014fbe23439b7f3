"""A small project whose model has been validated, for tests of what is made of its metrics."""

import hashlib

import numpy

from Classes.dataset import shard_writer
from Classes.dataset.image_records import ImageRecord
from Classes.evaluation import evaluate
from tests.support import graphs, smears


def measured_project(tmp_path, **card):
    """A project whose model has been validated on four planted images, one of them answered wrongly.

    Args:
      card: further fields of the model card.
    """
    folder = tmp_path / "Model" / "Data"
    folder.mkdir(parents=True)
    configuration = graphs.configuration(tmp_path, "Shards=1", "Precision=f32")
    images = {"a": ("1", 255), "b": ("0", 0), "c": ("0", 255), "d": ("1", 250), "train": ("1", 9)}
    items = [item(tmp_path, name, *image) for name, image in images.items()]
    splits = {"train": items[4:], "validation": items[:4]}
    manifest = shard_writer.write_shards(configuration, splits, {"classes": ["0", "1"], "synthetic": False})
    data = {"manifest_sha256": manifest.sha256}
    graphs.write(tmp_path / "Model", content=graphs.pooled(), size=graphs.SIZE, data=data, **card)
    evaluate.evaluate_model(configuration)
    return configuration


def item(folder, name, label, red):
    content = smears.png(numpy.concatenate([graphs.red(red, 40), graphs.red(0, 40)[:, : ord(name[0]) - 96]], axis=1))
    path = folder / f"{name}.png"
    path.write_bytes(content)
    return ImageRecord(
        str(path), label, int(label), name, hashlib.sha256(content).hexdigest(), len(content), "png", 40, 41
    )
