"""Write the model card for people (Mitchell et al., "Model Cards for Model Reporting", arXiv:1810.03993)."""

import itertools
from typing import Any

from Classes.common import html
from Classes.common.translation import Message
from Classes.dataset import grouping, tfrecords
from Classes.evaluation import classification_metrics, color_baseline, int8_acceptance, multiclass_tables
from Classes.inference import model_card

# Metrics that depend on the operating point.
OPERATING_POINT_METRICS = {
    "sensitivity": Message("Sensitivity"),
    "specificity": Message("Specificity"),
    "uncertain": Message("Fraction of uncertain results"),
    "accuracy_of_rest": Message("Accuracy of the rest"),
}

BASIS_NAMES = {
    "held_out": Message("Held out"),
    "cross_fitted": Message("Cross-fitted"),
    "in_sample": Message("In-sample (optimistic)"),
}


def render_model_card(
    card: model_card.ModelCard,
    manifest: tfrecords.Manifest,
    metrics: dict[str, Any],
    folds: dict[str, Any] | None = None,
) -> str:
    """Return the model card for people as Markdown; every number in it was measured.

    Args:
      card: model card.
      manifest: of the data set.
      metrics: as in metrics.json.
      folds: as in folds.json, or None.
    """
    int8 = card.int8 or {}
    return html.render(
        "Classes.evaluation",
        "model_card.md",
        card=card,
        calibration=card.calibration or {},
        manifest=manifest,
        metrics=metrics,
        folds=folds,
        basis=classification_metrics.describe_basis(metrics),
        basis_name=BASIS_NAMES[metrics.get("basis", "held_out")],
        images=sum(map(len, manifest.splits.values())),
        known_patients=known_patients(manifest),
        shared_groups=len(set.intersection(*({item["group"] for item in items} for items in manifest.splits.values()))),
        # Imported weights may have been quantized on other images than these.
        int8_on_these_images=bool(int8) and int8.get("manifest_sha256", manifest.sha256) == manifest.sha256,
        confident_probability=int8_acceptance.CONFIDENT_PROBABILITY,
        int8_missing_proof=None if int8.get("shown", True) else int8_acceptance.missing_proof(int8, int8["margin"]),
        operating_point_metrics=OPERATING_POINT_METRICS,
        metric_rows=classification_metrics.metric_rows,
        format_metric=classification_metrics.format_metric,
        format_value=classification_metrics.format_value,
        multiclass_tables=multiclass_tables,
        color_baseline=color_baseline,
        versions=format_versions(card),
    )


def known_patients(manifest: tfrecords.Manifest) -> int:
    """Return how many images have a known patient."""
    items = itertools.chain(*manifest.splits.values())
    return sum(bool(item.get("patient") or grouping.patient_of(item["group"])) for item in items)


def format_versions(card: model_card.ModelCard) -> str:
    """Return the package versions of the training as one line."""
    return ", ".join(f"{name} {version}" for name, version in card.versions.items())
