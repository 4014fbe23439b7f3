"""Render the audit as one HTML page with images."""

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import PIL.Image

from Classes.common import class_names, class_scheme, errors, html, translation
from Classes.common.config import Configuration
from Classes.common.translation import Message, ngettext
from Classes.common.translation import gettext as _
from Classes.dataset import audit_problems, discovery, leakage_probe
from Classes.dataset.audit_record import TEST, AuditRecord
from Classes.imaging import decode

# Largest number of images in a section; Data.json lists everything.
MAX_SHOWN = 40
SAMPLES_PER_CLASS = 6
MAX_SWATCHES = 120
# Stored twice as large as shown, for sharp and enlarged pictures.
THUMBNAIL_SIDE, STORED_SIDE = 120, 240

BORDERS = {
    "across_classes": Message("across classes"),
    "across_splits": Message("across splits"),
    "across_test": Message("across test images"),
}


def render_audit(configuration: Configuration, findings: dict[str, Any], records: Sequence[AuditRecord]) -> str:
    """Return the page as HTML text that contains all its images.

    Args:
      configuration: Configuration.
      findings: from audit.summarize, with `problems`, `unreadable`, `ignored` and `notice`.
      records: all images that can be read.
    """
    by_name = {record.filename: record for record in records}
    limits = decode.decode_limits(configuration)
    classes = {name: counts for name, counts in findings["classes"].items() if name != TEST}

    def label(name: str) -> str:
        """Return the name of a class; of two classes, also what it means."""
        if len(classes) > 2:
            return name
        positive = class_scheme.configured_positive(configuration)
        title = class_names.class_title(name, positive, configuration.condition)
        return name if title == name else f"{name} ({title})"

    return html.render(
        "Classes.dataset",
        "audit.html",
        title=_("Data audit"),
        headline=_headline(findings),
        class_label=label,
        probe_names=audit_problems.PROBE_NAMES,
        probe_limit=leakage_probe.WARN_AUC,
        class_probe_head=(_("class"), *(audit_problems.PROBE_NAMES.get(name, name) for name in findings["probes"])),
        class_probes=_class_probes(findings["probes"], label),
        folder=str(discovery.image_folder(configuration)),
        findings=findings,
        thumbnail=functools.cache(lambda name: _thumbnail(by_name.get(name), limits)),
        crossing_first=lambda found: sorted(found, key=lambda each: not any(each[key] for key in BORDERS)),
        borders=BORDERS,
        max_shown=MAX_SHOWN,
        samples_per_class=SAMPLES_PER_CLASS,
        class_rows=[
            (label(name), counts["images"], counts["originals"], counts["groups"], _splits(counts["splits"]))
            for name, counts in classes.items()
        ],
        stored="; ".join(
            f"{_(key)}: {_counts(findings[key])}"
            for key in (translation.mark("sizes"), translation.mark("modes"), translation.mark("formats"))
        ),
        **_examples(list(classes), records),
        **_colors(findings, label),
        **_unusual(findings),
    )


def _examples(classes: Sequence[str], records: Sequence[AuditRecord]) -> dict[str, Any]:
    """Return some images of each class, and the colors of some of its backgrounds."""
    by_class: dict[str, list[AuditRecord]] = {}
    for record in sorted(records, key=lambda record: record.class_name):
        if record.class_name != TEST:
            by_class.setdefault(record.class_name, []).append(record)
    samples = {name: _spaced(by_class.get(name, []), SAMPLES_PER_CLASS) for name in classes}
    swatches = {name: _spaced(found, MAX_SWATCHES) for name, found in by_class.items()}
    return {
        "samples": {name: [record.filename for record in found] for name, found in samples.items()},
        "swatches": {name: [record.background for record in found] for name, found in swatches.items()},
    }


def _colors(findings: dict[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
    """Return the table of the background colors, a column per class."""
    colors = {name: values for name, values in findings["colours"].items() if name != TEST}
    rows = [
        (Message(feature), *map(_median_and_range, (values[feature] for values in colors.values())))
        for feature in next(iter(colors.values()), ())
    ]
    return {"color_head": (_("levels of 0 to 255"), *map(label, colors)), "color_rows": rows}


def _unusual(findings: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return (file, reason) of images of unusual size or mode, and of files that are not used."""
    sizes = [(each["file"], f"{each['size']}: {', '.join(map(_, each['reasons']))}") for each in findings["odd_sizes"]]
    modes = [(each["file"], _("mode {mode}").format(mode=each["mode"])) for each in findings["odd_modes"]]
    ignored = _("skipped: not an image by its extension (ValidIType), hidden, or not in a class folder")
    unreadable = [(each["file"], each["reason"]) for each in findings["unreadable"]]
    return {"outliers": sizes + modes, "left_out": unreadable + [(name, ignored) for name in findings["ignored"]]}


def _class_probes(
    probes: dict[str, dict[str, Any]], label: Callable[[str], str]
) -> list[tuple[str, list[tuple[Message, bool]]]]:
    """Return (class, [(ROC AUC as text, whether it is marked) of each probe]); empty for two classes."""
    classes = {name: None for probe in probes.values() for name in probe.get("classes", ())}

    def cell(kind: str, name: str) -> tuple[Message, bool]:
        text, predictable = measured(probes[kind]["classes"][name])
        return text, predictable and kind not in audit_problems.EXPECTED

    def measured(probe: dict[str, Any]) -> tuple[Message, bool]:
        """Return the ROC AUC of a probe as text, and whether it predicts the class."""
        if probe["auc"] is None:
            return Message("unknown"), False
        if not probe["interval"]:
            return Message("{auc:.3f}", auc=probe["auc"]), probe["auc"] >= leakage_probe.WARN_AUC
        low, high = probe["interval"]
        text = Message("{auc:.3f} ({low:.3f} to {high:.3f})", auc=probe["auc"], low=low, high=high)
        return text, low >= leakage_probe.WARN_AUC

    return [(label(name), [cell(kind, name) for kind in probes]) for name in classes]


def _thumbnail(record: AuditRecord | None, limits: decode.DecodeLimits) -> dict[str, Any]:
    """Return the image as a data URI with its size; `src` is empty if the image is unknown or cannot be read."""
    if record is None:
        return {"src": "", "size": ""}
    size = f"{record.width}x{record.height}"
    try:
        image = PIL.Image.fromarray(decode.decode_image(record.path, limits, at_least=STORED_SIDE))
    except errors.ImageError:
        return {"src": "", "size": size}
    image.thumbnail((STORED_SIDE, STORED_SIDE))
    shown = THUMBNAIL_SIDE / max(image.size)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    src = html.data_uri(file.getvalue(), "jpeg")
    return {
        "src": src,
        "width": max(1, round(image.width * shown)),
        "height": max(1, round(image.height * shown)),
        "size": size,
    }


def _headline(findings: dict[str, Any]) -> str:
    """Return the result of the audit in one sentence."""
    count, images = len(findings["problems"]), findings["images"] + findings["tests"]
    if not count:
        return _("{images} images were checked. There is nothing to do.").format(images=images)
    text = ngettext(
        "{images} images were checked. There is {count} finding, with what to do about it.",
        "{images} images were checked. There are {count} findings, each with what to do about it.",
        count,
    )
    return text.format(images=images, count=count)


def _median_and_range(values: Sequence[float]) -> Message:
    """Return (5th percentile, median, 95th percentile) as text."""
    low, median, high = values
    return Message("{median} ({low} to {high})", median=median, low=low, high=high)


def _splits(counts: dict[str, int]) -> str:
    names = {"train": _("training"), "validation": _("validation")}
    return ", ".join(f"{count} {names.get(split, split)}" for split, count in counts.items()) or _("not split yet")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in list(counts.items())[:8])


def _spaced(records: Sequence[AuditRecord], most: int) -> Sequence[AuditRecord]:
    return records[:: max(1, len(records) // most)][:most]
