"""The model card for people, in Markdown (Mitchell et al., "Model Cards for Model Reporting", arXiv:1810.03993)."""

from Classes import Evaluation, Helpers


def text(card, manifest, metrics, folds=None):
    """The whole card; every figure in it was measured, none is written by hand.

    Args:
      card: Card.Card.
      manifest: Shards.Manifest.
      metrics: what metrics.json holds.
      folds: what folds.json holds, or None.
    Returns:
      Markdown.
    """
    sections = {
        "Intended use": _INTENDED,
        "Out of scope": _OUT_OF_SCOPE,
        "Data": _data(card, manifest),
        "Figures": _figures(metrics, folds),
        "Calibration": _calibration(card),
        "Limits": _limits(card, manifest, metrics),
        "Origin": _origin(card, metrics),
    }
    body = "\n".join(f"## {title}\n\n{content}\n" for title, content in sections.items())
    return f"# Model card: {card.graph}\n\n> {Helpers.DISCLAIMER}\n\n{body}"


_INTENDED = (
    "Research and teaching: telling images of single white blood cells with signs of Acute Lymphoblastic Leukemia from "
    "images without, on stains and cameras like those of its training images."
)
_OUT_OF_SCOPE = (
    "Diagnosis, treatment, triage, and anything else that touches a patient; whole slides; cells of other kinds; "
    "images of another stain or scanner that were not measured first."
)


def _data(card, manifest):
    groups = {split: len({item["group"] for item in items}) for split, items in manifest.splits.items()}
    lines = [
        f"- {split}: {len(items)} images of {groups[split]} originals or patients"
        + "".join(f", class {name}: {sum(item['class'] == name for item in items)}" for name in manifest.classes)
        for split, items in manifest.splits.items()
    ]
    lines.append("- no original or patient is in both; the proof is in the manifest beside the shards")
    lines.append(f"- class {card.positive} means ALL; data set {manifest.sha256}")
    if card.synthetic:
        lines.insert(0, "- **drawn, not photographed**: this model knows nothing about real cells")
    return "\n".join(lines)


def _figures(metrics, folds):
    lines = [
        f"Validation split, {metrics['images']} images, {metrics['engine']}, {metrics['arithmetic']}; "
        "95 % intervals (Wilson; resampled by original or patient for the rest).",
        "",
        "| figure | value | interval |",
        "|---|---|---|",
    ]
    for key, name in Evaluation.NAMES.items():
        figure = metrics.get(key)
        if figure is not None:
            value = f"unknown: {figure['note']}" if figure["value"] is None else f"{figure['value']:.4f}"
            interval = "{:.4f} to {:.4f}".format(*figure["interval"]) if figure["interval"] else ""
            lines.append(f"| {name} | {value} | {interval} |")
    if folds:
        values = [fold["accuracy"]["value"] for fold in folds["folds"]]
        lines += ["", f"Accuracy over {len(values)} folds: " + ", ".join(f"{value:.4f}" for value in values) + "."]
    return "\n".join(lines)


def _calibration(card):
    lines = [
        f"Temperature {card.temperature:g}, folded into the graph; verdict ALL from probability {card.threshold:g}."
    ]
    calibration = getattr(card, "calibration", None) or {}
    if "ece_before" in calibration:
        before, after = calibration["ece_before"], calibration["ece_after"]
        lines.append(f"Expected calibration error {before:.4f} before and {after:.4f} after the temperature.")
        honest = calibration["cross_fitted"]
        if honest:
            lines.append(
                "All this was chosen on the validation images; where other images choose, the error is "
                f"{honest['ece']:.4f} and {honest['uncertain']['value']:.1%} of the verdicts are uncertain."
            )
    return " ".join(lines)


def _limits(card, manifest, metrics):
    by_patient = any(str(item["group"]).startswith("patient") for items in manifest.splits.values() for item in items)
    lines = [
        f"- {metrics['images']} validation images: the figures are as sure as their intervals are narrow.",
        "- Images of one stain, camera and laboratory; what others do to the figures is unknown.",
    ]
    if not by_patient:
        lines.append("- It is not known which images come from one patient, so figures may be too good.")
    if metrics["arithmetic"] != "f32":
        lines.append(
            f"- Measured in {metrics['arithmetic']}; in float32 probabilities differ by up to some hundredths."
        )
    return "\n".join(lines)


def _origin(card, metrics):
    lines = [
        f"- graph SHA-256 {card.graph_sha256}",
        f"- trained {card.created}, commit {card.commit}, {card.training.get('step')} steps",
        f"- measured {metrics['created']}",
        "- " + ", ".join(f"{name} {version}" for name, version in card.versions.items()),
    ]
    return "\n".join(lines)
