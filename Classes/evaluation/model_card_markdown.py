"""The model card for people, in Markdown (Mitchell et al., "Model Cards for Model Reporting", arXiv:1810.03993)."""

import itertools

from Classes import Helpers
from Classes.dataset import grouping
from Classes.evaluation import classification_metrics
from Classes.export import int8_acceptance


def render_model_card(card, manifest, metrics, folds=None):
    """The whole card; every figure in it was measured, none is written by hand.

    Args:
      card: model_card.ModelCard.
      manifest: tfrecords.Manifest.
      metrics: what metrics.json holds.
      folds: what folds.json holds, or None.
    Returns:
      Markdown.
    """
    sections = {
        "Intended use": _INTENDED,
        "Out of scope": _OUT_OF_SCOPE,
        "Data": _data_section(card, manifest),
        "Figures": _metrics_section(metrics, folds),
        "Calibration and operating point": _calibration_section(card, metrics),
        "Limits": _limits_section(card, manifest, metrics),
        "Origin": _provenance_section(card, metrics),
    }
    body = "\n".join(f"## {title}\n\n{content}\n" for title, content in sections.items())
    return f"# Model card: {card.graph} ({card.network})\n\n> {Helpers.DISCLAIMER}\n\n{body}"


_INTENDED = (
    "Research and teaching: telling images of single white blood cells with signs of Acute Lymphoblastic Leukemia from "
    "images without, on stains and cameras like those of its training images."
)
_OUT_OF_SCOPE = (
    "Diagnosis, treatment, triage, and anything else that touches a patient; whole slides; cells of other kinds; "
    "images of another stain or scanner that were not measured first."
)


def _data_section(card, manifest):
    groups = {split: len({item["group"] for item in items}) for split, items in manifest.splits.items()}
    lines = [
        f"- {split}: {len(items)} images of {groups[split]} originals or patients"
        + "".join(f", class {name}: {sum(item['class'] == name for item in items)}" for name in manifest.classes)
        for split, items in manifest.splits.items()
    ]
    known = known_patients(manifest)
    both = "no original and none of these patients is" if known else "no original is"
    lines.append(f"- patient known for {known} of {sum(map(len, manifest.splits.values()))} images")
    lines.append(f"- {both} in both; the proof is in the manifest beside the shards")
    lines.append(f"- class {card.positive} means ALL; data set {manifest.sha256}")
    if card.imported:
        told = "what they were trained on is not known, these images were only measured on"
        lines.insert(0, f"- **imported weights** ({card.data['imported']}, SHA-256 {card.data['sha256']}): {told}")
    if card.synthetic:
        lines.insert(0, "- **drawn, not photographed**: this model knows nothing about real cells")
    return "\n".join(lines)


def known_patients(manifest):
    """How many images are of a known patient."""
    items = itertools.chain(*manifest.splits.values())
    return sum(bool(item.get("patient") or grouping.patient_of(item["group"])) for item in items)


def _metrics_section(metrics, folds):
    lines = [
        f"Validation split, {metrics['images']} images, {metrics['engine']}, {metrics['arithmetic']}; "
        "95 % intervals, which allow for images of one original or patient being alike.",
        *classification_metrics.describe_basis(metrics),
        "",
        *_table(metrics),
    ]
    if metrics.get("patients"):
        patients = metrics["patients"]
        left = f", {patients['mixed']} with images of both classes left out" * bool(patients["mixed"])
        lines += ["", f"The same over {patients['images']} patients, by the mean of their images{left}.", ""]
        lines += _table(patients)
    if folds:
        values = [classification_metrics.format_metric(fold["accuracy"])[0] for fold in folds["folds"]]
        mean, spread = (_number(folds[key]["accuracy"]) for key in ("mean", "spread"))
        lines += [
            "",
            f"Accuracy over {len(values)} folds: {', '.join(values)}; mean {mean}, spread {spread}. Together:",
            "",
        ]
        lines += _table(folds["together"])
    return "\n".join(lines)


def _number(value):
    return "-" if value is None else f"{value:.4f}"


def _table(figures):
    lines = ["| figure | value | interval | |", "|---|---|---|---|"]
    for name, figure in classification_metrics.iter_metrics(figures):
        value, interval, rest = classification_metrics.format_metric(figure)
        lines.append(f"| {name} | {'unknown' if figure['value'] is None else value} | {interval} | {rest} |")
    return lines


def _calibration_section(card, metrics):
    lines = [
        f"Temperature {card.temperature:g}, folded into the graph; verdict ALL from probability {card.threshold:g}."
    ]
    if card.uncertain:
        lines.append("Uncertain, for a person to decide: from {:.3f} to below {:.3f}.".format(*card.uncertain))
    calibration = card.calibration or {}
    if calibration.get("note"):
        lines.append(f"Nothing was fitted: {calibration['note']}.")
    if "ece_before" in calibration:
        lines.append(f"Chosen on {calibration['images']} validation images for a sensitivity of ")
        lines[-1] += f"{calibration['target_sensitivity']:g} or more."
    before = metrics["certainty"]["before"] and metrics["certainty"]["before"]["ece"]
    if before is not None:
        lines.append(f"Without the temperature the expected calibration error is {before:.4f}.")
    if metrics["certainty"]["after"]["ece"] is not None:
        name = {"cross_fitted": "Cross-fitted", "in_sample": "In-sample (optimistic)"}.get(metrics.get("basis"))
        lines.append(f"{name or 'On images that chose nothing'}: {_operating_point(metrics)}.")
        lines.append(f"Were every confidence true, the error would be {metrics['certainty']['after']['chance']:.4f}.")
    if "in_sample" in metrics:
        lines.append(
            f"In-sample, so optimistic, on the images that chose it: {_operating_point(metrics['in_sample'])}."
        )
    warnings = "".join(f"\n- **Warning**: {each['text']}" for each in calibration.get("warnings", ()))
    return " ".join(lines) + (warnings and f"\n{warnings}")


def _operating_point(figures):
    """Sensitivity, specificity and uncertainty in words, with intervals."""
    found = {**figures, **figures["certainty"]}
    names = {"sensitivity": "sensitivity", "specificity": "specificity", "uncertain": "uncertain share"}
    parts = []
    for key, name in {**names, "accuracy_of_rest": "accuracy of the rest"}.items():
        value, interval, _ = classification_metrics.format_metric(found[key])
        parts.append(f"{name} {value} ({interval})")
    return ", ".join([*parts, f"expected calibration error {figures['certainty']['after']['ece']:.4f}"])


def _limits_section(card, manifest, metrics):
    images, known = sum(map(len, manifest.splits.values())), known_patients(manifest)
    lines = [
        f"- {metrics['images']} validation images: the figures are as sure as their intervals are narrow.",
        "- Images of one stain, camera and laboratory; what others do to the figures is unknown.",
    ]
    if known < images:
        of = f"{images - known} of {images} images" if known else "all images"
        lines.append(f"- The patient of {of} is unknown, so metrics may be too good.")
    if metrics["arithmetic"] != "f32":
        lines.append(
            f"- Measured in {metrics['arithmetic']}; in float32 probabilities differ by up to some hundredths."
        )
    if card.int8:
        found = card.int8
        lines.append(
            f"- In int8 probabilities differ from float32 by up to {found['largest_difference']:.3f}; of "
            f"{found['images']} validation verdicts {found['flips']} turn, {found['confident_flips']} of them with a "
            f"confidence of {int8_acceptance.CONFIDENT_PROBABILITY:g} or more."
        )
        if "shown" in found and not found["shown"]:
            lines.append(f"- **Not shown**: {int8_acceptance.doubt(found, found['margin'])}.")
    return "\n".join(lines)


def _provenance_section(card, metrics):
    lines = [
        f"- graph SHA-256 {card.graph_sha256}",
        f"- made {card.created}, {f'commit {card.commit}, ' if card.commit else ''}{_training_steps(card)}",
        f"- measured {metrics['created']}",
        "- " + ", ".join(f"{name} {version}" for name, version in card.versions.items()),
    ]
    return "\n".join(lines)


def _training_steps(card):
    step = card.training.get("step")
    return "imported as it is" if step is None else f"trained for {step} steps"
