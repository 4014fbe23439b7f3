"""Pictures of an evaluation, as PNG; drawn without a display."""

import io

from Classes.common import atomic_files

NOTICE = "research use only"


def plot_confusion_matrix(path, figures, title):
    """The four counts, truth against verdict.

    Args:
      path: PNG to write.
      figures: from classification_metrics.evaluate_predictions.
      title: first line above the picture.
    """
    counts = figures["counts"]
    cells = [
        [counts["true_positives"], counts["false_negatives"]],
        [counts["false_positives"], counts["true_negatives"]],
    ]
    figure, axes = _new_figure(
        f"{title}\nAccuracy {_metric_text(figures['accuracy'])}\n{figures['images']} images, {NOTICE}"
    )
    most = max(map(max, cells)) or 1
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=most)
    for row, values in enumerate(cells):
        total = sum(values)
        for column, value in enumerate(values):
            share = f"\n{value / total:.1%} of {total}" if total else ""
            colour = "white" if value > most / 2 else "black"
            axes.text(column, row, f"{value}{share}", ha="center", va="center", color=colour, fontsize=14)
    axes.set_xticks([0, 1], ["called ALL", "called not ALL"])
    axes.set_yticks([0, 1], ["ALL", "not ALL"])
    axes.set_xlabel("verdict")
    axes.set_ylabel("truth")
    _save_png(figure, path)


def plot_roc(path, labels, scores, figures, title):
    """The ROC curve with the point the verdicts are at.

    Args:
      path: PNG to write.
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      figures: from classification_metrics.evaluate_predictions, of the same images.
      title: first line above the picture.
    """
    figure, axes = _new_figure(
        f"{title}\nROC AUC {_metric_text(figures['roc_auc'])}\n{figures['images']} images, {NOTICE}"
    )
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="chance")
    if figures["roc_auc"]["value"] is None:
        axes.text(0.5, 0.5, figures["roc_auc"]["note"], ha="center", va="center")
    else:
        from sklearn import metrics

        false, true, _ = metrics.roc_curve(labels, scores)
        axes.plot(false, true, color="C0", label="all thresholds", clip_on=False, zorder=3)
        point = 1 - figures["specificity"]["value"], figures["sensitivity"]["value"]
        label = f"verdicts: sensitivity {point[1]:.3f}, specificity {1 - point[0]:.3f}"
        axes.plot(*point, "o", color="C3", label=label, clip_on=False, zorder=4)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.set_xlabel("share of the others called ALL (1 - specificity)")
    axes.set_ylabel("share of ALL called ALL (sensitivity)")
    axes.legend(loc="lower right")
    _save_png(figure, path)


def plot_precision_recall(path, labels, scores, title):
    """The share of right alarms against the share of ALL that is found.

    Args:
      path: PNG to write.
      labels: bool [N], whether an image is of the positive class.
      scores: float [N], probability of the positive class.
      title: first line above the picture.
    """
    figure, axes = _new_figure(f"{title}\n{len(labels)} images, {NOTICE}")
    if any(labels) and not all(labels):
        from sklearn import metrics

        precision, sensitivity, _ = metrics.precision_recall_curve(labels, scores)
        area = metrics.average_precision_score(labels, scores)
        axes.step(
            sensitivity, precision, where="post", color="C0", label=f"average precision {area:.4f}", clip_on=False
        )
        axes.axhline(sum(labels) / len(labels), linestyle=":", color="grey", label="chance")
        axes.legend(loc="lower left")
    else:
        axes.text(0.5, 0.5, "both classes are needed", ha="center", va="center")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.set_xlabel("share of ALL called ALL (sensitivity)")
    axes.set_ylabel("share of what is called ALL that is ALL (PPV)")
    _save_png(figure, path)


def plot_reliability(path, certainty, title):
    """Confidence against how often it is right, before and after calibration.

    Args:
      path: PNG to write.
      certainty: {"before" and "after": calibration.reliability_bins's answer, or None}.
      title: first line above the picture.
    """
    count = sum(each["images"] for each in certainty["after"]["bins"])
    figure, axes = _new_figure(f"{title}\n{count} images, {NOTICE}")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="as often right as it says")
    for label, found in (("before calibration", certainty["before"]), ("served", certainty["after"])):
        if found and found["bins"]:
            confidences, shares = ([each[key] for each in found["bins"]] for key in ("confidence", "accuracy"))
            # Images of a single patient in a bin have no interval.
            ends = [each["interval"] or [each["accuracy"]] * 2 for each in found["bins"]]
            spread = [[share - end[0] for share, end in zip(shares, ends, strict=True)]]
            spread.append([end[1] - share for share, end in zip(shares, ends, strict=True)])
            # Two intervals in one place would hide each other.
            ends = spread if found is certainty["after"] else None
            axes.errorbar(confidences, shares, yerr=ends, fmt="o-", capsize=3, label=label, clip_on=False)
    axes.set_xlim(0.45, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share of right verdicts, with 95 % intervals")
    axes.legend(loc="lower right")
    _save_png(figure, path)


def plot_training_curves(path, history):
    """Loss and accuracy over a training.

    Args:
      path: PNG to write.
      history: from tensorboard_events.read_scalars.
    """
    figure, upper = _new_figure(f"Training\n{NOTICE}")
    upper.remove()
    for row, (word, tags) in enumerate(
        (
            ("loss", ("Training_losses/Total_Loss", "Validation_losses/Total_Loss")),
            ("accuracy", ("Training_Accuracy", "Validation_Accuracy")),
        )
    ):
        axes = figure.add_subplot(2, 1, row + 1)
        for tag in tags:
            if tag in history:
                axes.plot(*zip(*history[tag], strict=True), label=tag.split("_")[0].lower())
        axes.set_ylabel(word)
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("step")
    figure.suptitle(f"Training, {NOTICE}", fontsize=11)
    _save_png(figure, path)


def _new_figure(title):
    # Figure without pyplot: no global state, and the Agg canvas needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    return figure, axes


def _metric_text(figure):
    """A figure for a title, with its interval."""
    if figure["value"] is None:
        return f"unknown: {figure['note']}"
    interval = "95 % interval {:.3f} to {:.3f}".format(*figure["interval"]) if figure["interval"] else figure["note"]
    return f"{figure['value']:.4f}" + (f" ({interval})" if interval else "")


def _save_png(figure, path):
    content = io.BytesIO()
    figure.savefig(content, format="png")
    atomic_files.write_atomic(path, content.getvalue())
