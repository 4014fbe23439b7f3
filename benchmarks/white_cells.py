"""The blood-cell backbone against ImageNet weights on real cells: accuracy, what distortions cost, and time.

python3 benchmarks/white_cells.py SOURCE                                        # class folders 0 and 1
python3 benchmarks/white_cells.py SOURCE --imagenet Model/Pretrained/NAME       # beside ImageNet weights

Every backbone computes features of the clean images and of distorted copies. In each of five folds a last layer is
trained on clean images of the other folds and predicts the images of its fold, clean and distorted. SOURCE must not
hold images that the blood-cell weights were trained on; see Model/WhiteCells/MODEL_CARD.md.
"""

import argparse
import io
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy
import PIL.Image
import PIL.ImageFilter

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

SHIPPED = PROJECT / "Model/WhiteCells/WhiteCells.pb"
FOLDS = 5


def gain(*factors):
    """A change of the light: each channel is multiplied."""
    return lambda image: PIL.Image.fromarray((numpy.asarray(image) * numpy.array(factors)).clip(0, 255).astype("uint8"))


def hue(degrees):
    """A rotation of the color circle."""

    def change(image):
        values = numpy.array(image.convert("HSV"))
        values[..., 0] += numpy.uint8(degrees / 360 * 256 % 256)
        return PIL.Image.fromarray(values, "HSV").convert("RGB")

    return change


def scale(factor):
    """Enlarge or reduce about the middle; what is missing is mirrored."""

    def change(image):
        pixels = numpy.asarray(image)
        pad = [side // 4 for side in pixels.shape[:2]]
        padded = PIL.Image.fromarray(numpy.pad(pixels, [(pad[0],) * 2, (pad[1],) * 2, (0, 0)], "reflect"))
        width, height = (side / factor for side in image.size)
        left, top = (padded.width - width) / 2, (padded.height - height) / 2
        return padded.resize(image.size, PIL.Image.Resampling.BICUBIC, (left, top, left + width, top + height))

    return change


DISTORTIONS = {
    "warmer light": gain(1.1, 1, 0.85),
    "colder light": gain(0.85, 1, 1.1),
    "hue +15 degrees": hue(15),
    "hue -15 degrees": hue(-15),
    "darker": gain(0.65, 0.65, 0.65),
    "blurred": lambda image: image.filter(PIL.ImageFilter.GaussianBlur(image.width / 150)),
    "scale 0.8": scale(0.8),
    "scale 1.25": scale(1.25),
}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, help="folder with the class folders 0 and 1")
    parser.add_argument("--imagenet", help="ImageNet weights to compare with, as for Pretrained")
    parser.add_argument("--images", type=int, default=200, help="images that are distorted (default: 200)")
    options = parser.parse_args(arguments)
    from Classes.common import cli

    cli.import_tensorflow()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    files = [(path, label) for label in (0, 1) for path in sorted((options.source / str(label)).iterdir())]
    clean = [path.read_bytes() for path, _ in files]
    labels = numpy.array([label for _, label in files])
    chosen = numpy.sort(numpy.random.default_rng(0).permutation(len(files))[: options.images])
    distorted = {name: [_distort(clean[row], change) for row in chosen] for name, change in DISTORTIONS.items()}
    lost = {}
    for name, weights in {"blood cells": str(SHIPPED), "ImageNet": options.imagenet}.items():
        if weights:
            lost[name] = _measure(name, weights, clean, labels, chosen, distorted)
    if len(lost) == 2:
        print(f"Lost by blood cells / lost by ImageNet: {lost['blood cells'] / max(lost['ImageNet'], 1e-9):.2f}")
    _time_per_image([path for path, _ in files[:: max(1, len(files) // 60)]])
    return 0


def _distort(encoded, change):
    with PIL.Image.open(io.BytesIO(encoded)) as image:
        buffer = io.BytesIO()
        change(image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()


def _measure(name, weights, clean, labels, chosen, distorted):
    """Print the accuracies of a backbone, and return the mean loss by the distortions."""
    from Classes import Helpers
    from Classes.common import statistics as intervals

    began = time.perf_counter()
    configuration = Helpers.load_config(None, [f"Pretrained={weights}"])
    everything = [*clean, *(each for images in distorted.values() for each in images)]
    features = _features(configuration, everything)
    rows = {"clean": numpy.arange(len(clean))}
    for number, kind in enumerate(distorted):
        rows[kind] = len(clean) + number * len(chosen) + numpy.arange(len(chosen))
    of_row = numpy.concatenate([numpy.arange(len(clean)), *[chosen] * len(distorted)])
    scores = numpy.empty(len(everything))
    for others, fold in intervals.stratified_group_folds(labels, [str(row) for row in of_row[: len(clean)]], FOLDS, 50):
        held_out = numpy.flatnonzero(numpy.isin(of_row, fold))
        scores[held_out] = _train_and_predict(configuration, features, labels[of_row], others, held_out)
    right = (scores >= 0.5) == labels[of_row].astype(bool)
    auc = intervals.roc_auc(labels.astype(bool), scores[rows["clean"]])
    print(
        f"\n{name}: {len(clean)} images, {FOLDS} folds: accuracy {right[rows['clean']].mean():.4f}, ROC AUC {auc:.4f}"
    )
    base = right[chosen].mean()
    print(f"{'distortion':18}{'accuracy':>9}{'lost':>8}   of {len(chosen)} images, clean {base:.4f}")
    losses = {kind: base - right[rows[kind]].mean() for kind in distorted}
    for kind, loss in losses.items():
        print(f"{kind:18}{base - loss:9.4f}{loss:8.4f}")
    mean = float(numpy.mean(list(losses.values())))
    print(f"{'mean':18}{base - mean:9.4f}{mean:8.4f}   {time.perf_counter() - began:.0f} s")
    return mean


def _features(configuration, encoded):
    from Classes.dataset import shard_index
    from Classes.networks import pretrained_weights, registry, weight_files
    from Classes.training import feature_extraction

    configuration = weight_files.fit_to_weights(configuration)
    network = registry.get_network(configuration)
    backbone = pretrained_weights.load_pretrained(configuration, network.variable_shapes(configuration))
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / f"{row}.png" for row in range(len(encoded))]
        for path, image in zip(paths, encoded, strict=True):
            path.write_bytes(image)
        images, chosen = shard_index.index_files(paths), configuration.replace(FeatureCache=folder)
        return feature_extraction.extract_features(chosen, backbone, "", images)[:]


def _train_and_predict(configuration, features, labels, others, rows):
    """Train a last layer on the rows `others`, and return the probability of class 1 of `rows`."""
    from Classes.evaluation import calibration
    from Classes.training import linear_probe

    splits = {"train": (features[others], labels[others]), "validation": (features[rows], labels[rows])}
    trainer = linear_probe.LinearProbe(configuration, splits, {})
    for epoch in range(configuration["Epochs"]):
        trainer.train_epoch(epoch)
    return calibration.softmax_at_temperature(trainer.logits(trainer.network()))[:, 1]


def _time_per_image(files):
    from Classes.inference import model_card, openvino_backend

    card = model_card.load_model_card(SHIPPED.with_suffix(".json"), cell_types=True)
    for precision in ("f32", *(["int8"] if card.int8 else [])):
        with openvino_backend.OpenVINOBackend(card, "CPU", precision) as backend:
            times = []
            for path in [*files[:5], *files]:
                began = time.perf_counter()
                backend.classify(card.input_spec.decode_and_resize(path)[None])
                times.append(time.perf_counter() - began)
        times = times[5:]
        print(
            f"Shipped model, file to answer, {precision}: median {statistics.median(times) * 1000:.1f} ms, "
            f"fastest {min(times) * 1000:.1f} ms, of {len(times)} images"
        )


if __name__ == "__main__":
    sys.exit(main())
