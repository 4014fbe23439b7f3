"""Cross-validation: every original is judged once, by a last layer that saw neither it nor anything of its group."""

import logging

import numpy

from Classes import (
    Calibration,
    Evaluation,
    Features,
    Files,
    Groups,
    Helpers,
    Learners,
    Networks,
    Prediction,
    Pretrained,
    Provenance,
    Shards,
    Training,
)
from Classes.Errors import ConfigurationError

log = logging.getLogger("Validation")


def run(configuration, count):
    """Train the last layer `count` times, each time on all groups but those of one fold, and measure it on that fold.

    Both splits are put together; views are trained on and not measured, as ever. Each training has all its `Epochs`:
    an early stop (`Patience`) would choose with the very images that are measured. Writes folds.json to `LogDirEval`,
    for the report.

    Args:
      configuration: Configuration.
      count: how many folds.
    Returns:
      exit code 0.
    Raises:
      ConfigurationError: the configuration trains more than the last layer, or there are too few groups.
      ALLError: of the data or the weights.
    """
    manifest = Shards.agreed(configuration)
    network = Networks.of(configuration)
    if not network.POOLED:
        raise ConfigurationError(f"Folds trains the last layer on kept features; {configuration['Network']} has none")
    scopes, blocks = Training.trained(configuration)
    if blocks != network.BLOCKS[-1:]:
        raise ConfigurationError(
            f"Folds trains the last layer on kept features, the configuration trains {scopes}, which would be {count} "
            f"whole trainings; set TrainableScopes={network.BLOCKS[-1]} and give pretrained weights"
        )
    items = [item for split in Shards.SPLITS for item in manifest.splits[split]]
    labels = numpy.array([item["label"] for item in items], "int64")
    parts = split(labels, [item["group"] for item in items], count, configuration["RandomSeed"])
    folder = configuration.path("LogDirEval")
    with Files.lock(folder):
        log.info(Helpers.DISCLAIMER)
        features = _features(configuration, manifest)
        measured = numpy.array([not Groups.is_view(item["file"]) for item in items])
        judged = []
        for number, (others, rows) in enumerate(Helpers.progress(parts, desc="Folds", unit="fold"), 1):
            rows = rows[measured[rows]]
            probabilities = _train(configuration, features, labels, others, rows)
            judged.append((rows, probabilities))
            log.info("Fold %d of %d: %d originals judged.", number, count, len(rows))
        found = _figures(configuration, manifest, items, judged)
        print("", *table(found), "", sep="\n")
        Files.write_json(folder / "folds.json", Files.sealed(found))
    log.info("Wrote %s", folder / "folds.json")
    log.info("Next: python3 Validation.py, which puts them into the report")
    return 0


def split(labels, groups, count, seed):
    """Folds with about the same share of every class, no group in two of them.

    Args:
      labels: int [N].
      groups: [N] names.
      count: how many folds.
      seed: of the shuffling.
    Returns:
      list of (rows of all other folds, rows of the fold), each fold's rows in ascending order.
    Raises:
      ConfigurationError: a class has fewer groups than there are folds.
    """
    from sklearn import model_selection

    company = [len({groups[row] for row in numpy.flatnonzero(labels == label)}) for label in numpy.unique(labels)]
    if not 2 <= count <= min(company, default=0):
        raise ConfigurationError(
            f"{count} folds: from 2 to {min(company, default=0)} are possible, as many as the rarest class has groups"
        )
    splitter = model_selection.StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))


def table(found):
    """Figures of folds as lines of text for a terminal.

    Args:
      found: what folds.json holds.
    """
    heads = [Evaluation.NAMES[key] for key in Evaluation.OF_A_FOLD]
    widths = [max(len(head), 7) for head in heads]

    def line(name, values):
        cells = ("-" if value is None else f"{value:.4f}" for value in values)
        return "  ".join([f"{name:8}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])

    lines = ["  ".join([f"{'fold':8}", *(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))])]
    lines += [
        line(str(number), [fold[key]["value"] for key in Evaluation.OF_A_FOLD])
        for number, fold in enumerate(found["folds"], 1)
    ]
    lines += [line(name, [found[name][key] for key in Evaluation.OF_A_FOLD]) for name in ("mean", "spread")]
    return [*lines, "", "All folds together, each original judged once:", "", *Evaluation.table(found["together"])]


def _features(configuration, manifest):
    """The backbone's features of all images of both splits, float32 [N, F], in the manifest's order."""
    network = Networks.of(configuration)
    backbone = Pretrained.load(configuration, network.shapes(configuration))
    records = {record.sha256: record for name in Shards.SPLITS for record in Shards.records(configuration, name)}
    identity = Pretrained.backbone_identity(backbone, network.LAST)
    found = Features.extract(configuration, backbone, identity, records)
    return numpy.stack([found[item["sha256"]] for name in Shards.SPLITS for item in manifest.splits[name]])


def _train(configuration, features, labels, others, rows):
    """Probabilities of the images of a fold, float [N, classes], by a last layer trained on the others."""
    sides = {"train": (features[others], labels[others]), "validation": (features[rows], labels[rows])}
    learner = Learners.LastLayer(configuration, sides, {})
    for epoch in range(configuration["Epochs"]):
        learner.train_epoch(epoch)
    with learner.averaged():
        return Calibration.tempered(learner.logits(learner.network()))


def _figures(configuration, manifest, items, judged):
    """What folds.json holds; `judged` is a list of (rows, probabilities) a fold."""
    positive = manifest.classes.index(configuration["PositiveClass"])

    def measure(rows, probabilities):
        scores = probabilities[:, positive]
        truths = [items[row]["label"] == positive for row in rows]
        groups = [items[row]["group"] for row in rows]
        rest = groups, configuration["RandomSeed"], configuration["Prevalence"]
        return Evaluation.evaluate(truths, scores, Prediction.apply_threshold(scores, Calibration.HALF), *rest)

    folds = [measure(*each) for each in judged]
    together = measure(*(numpy.concatenate(each) for each in zip(*judged, strict=True)))
    values = {
        key: [fold[key]["value"] for fold in folds if fold[key]["value"] is not None] for key in Evaluation.OF_A_FOLD
    }
    return {
        "notice": Helpers.DISCLAIMER,
        "network": configuration["Network"],
        "manifest_sha256": manifest.sha256,
        "synthetic": manifest.synthetic,
        "threshold": Calibration.HALF,
        "created": Provenance.now(),
        "folds": folds,
        "mean": {key: float(numpy.mean(each)) if each else None for key, each in values.items()},
        "spread": {key: float(numpy.std(each, ddof=1)) if len(each) > 1 else None for key, each in values.items()},
        "together": together,
    }
