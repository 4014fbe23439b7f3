"""What a run over many images found: counts of all images, the images that need review, and the accuracy if known."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from Classes.common import conditions, outcome, wilson
from Classes.common.class_scheme import ClassScheme
from Classes.common.conditions import Condition
from Classes.common.number_format import format_number
from Classes.common.translation import Message, localize, ngettext
from Classes.common.translation import gettext as _

# Images that need review, and skipped files, that are named at the end of a run.
MAX_NAMES = 20


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How the results of the images with a known class compare with it; a result that needs review counts as well.

    Attributes:
      true_positives, false_positives, true_negatives, false_negatives: numbers of images.
      reviewed_wrong: how many of the wrong results are among those that need review.
    """

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    reviewed_wrong: int

    @property
    def correct(self) -> int:
        """Number of correct results."""
        return self.true_positives + self.true_negatives

    @property
    def total(self) -> int:
        """Number of images with a known class."""
        return self.correct + self.false_positives + self.false_negatives

    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval of the proportion of correct results."""
        return wilson.wilson_interval(self.correct / self.total, self.total)


@dataclasses.dataclass(frozen=True)
class Summary:
    """The summary of a run.

    Attributes:
      given: number of images that the run was to read.
      read: number of images with a result.
      outcomes: number of images for each of outcome.OUTCOMES.
      failed: names of the images without a result.
      review: (name, reason codes) of the images that need review.
      skipped: names of the files that were not used, each with the reason.
      accuracy: None if no image with a result has a known class.
      note: what the results are compared with, or why they are not.
      condition: what is detected.
      detects: whether the model detects anything; if not, it only names classes.
      classes, groups: (name, number of images) of the counted classes and groups, the most frequent first; empty for
        disease or not, and no groups if each class is its own.
      class_accuracy: how often the predicted class, or its group if only that is known, is the true one; None if it is
        not known, or the classes are disease or not.
    """

    given: int
    outcomes: dict[str, int]
    failed: Sequence[str]
    review: Sequence[tuple[str, Sequence[str]]]
    skipped: Sequence[tuple[str, str]]
    accuracy: Accuracy | None
    note: Message | None
    condition: Condition
    detects: bool = True
    classes: Sequence[tuple[str, int]] = ()
    groups: Sequence[tuple[str, int]] = ()
    class_accuracy: tuple[int, int] | None = None
    read: int = 0

    @property
    def stopped(self) -> bool:
        """Whether the run ended before it had tried all images."""
        return self.read + len(self.failed) < self.given

    def counts(self) -> list[tuple[str, int]]:
        """Return (what, number of images) for a table, in the language of the reader."""
        shown = outcome.OUTCOMES if self.detects else (outcome.REVIEW,)
        return [
            (_("Read"), self.read),
            *((outcome.outcome_text(each, self.condition), self.outcomes[each]) for each in shown),
            (_("Failed"), len(self.failed)),
        ]

    def class_lines(self) -> Iterator[str]:
        """Yield how many images are of each class and of each group, if there are several."""
        for text, counted in ((_("Groups: {parts}"), self.groups), (_("Classes: {parts}"), self.classes)):
            if counted:
                yield text.format(parts=", ".join(f"{number} {name}" for name, number in counted))

    def lines(self) -> Iterator[str]:
        """Yield the summary as sentences in the language of the reader."""
        if self.stopped:
            done = self.read + len(self.failed)
            yield _("Stopped after {done} of {given} images.").format(done=done, given=self.given)
        yield ", ".join(f"{name}: {number}" for name, number in self.counts())
        yield from self.class_lines()
        yield from self.review_lines()
        if self.skipped:
            names = ", ".join(name for name, _reason in self.skipped[:MAX_NAMES])
            more = _more(len(self.skipped))
            yield _("Skipped files: {count} ({names})").format(count=len(self.skipped), names=names + more)
        yield from self.accuracy_lines()

    def review_lines(self) -> Iterator[str]:
        """Yield one line for each of the first images that need review."""
        for name, reasons in self.review[:MAX_NAMES]:
            texts = " ".join(outcome.reason_text(each, self.condition) for each in reasons)
            yield _("Needs review: {name}: {reasons}").format(name=name, reasons=texts)
        if len(self.review) > MAX_NAMES:
            yield _("Needs review: {count} more images; a table names all (--csv PATH).").format(
                count=len(self.review) - MAX_NAMES
            )

    def accuracy_lines(self) -> Iterator[str]:
        """Yield how often the results are correct, or why that is not known."""
        if self.note is not None:
            yield localize(self.note)
        if self.accuracy is not None:
            found = self.accuracy
            low, high = found.interval()
            yield _("Correct: {correct} of {total} ({share}, 95 % interval {low} to {high})").format(
                correct=found.correct,
                total=found.total,
                share=format_number(found.correct / found.total, ".1%"),
                low=format_number(low, ".1%"),
                high=format_number(high, ".1%"),
            )
            yield _(
                "With {condition}: {positive} images, detected in {found}. "
                "Without {condition}: {negative} images, detected in {wrong}."
            ).format(
                condition=self.condition.label,
                found=found.true_positives,
                positive=found.true_positives + found.false_negatives,
                wrong=found.false_positives,
                negative=found.false_positives + found.true_negatives,
            )
            if wrong := found.total - found.correct:
                yield ngettext(
                    "{reviewed} of {wrong} wrong result needs review.",
                    "{reviewed} of {wrong} wrong results need review.",
                    wrong,
                ).format(wrong=wrong, reviewed=found.reviewed_wrong)
        if self.class_accuracy is not None:
            correct, total = self.class_accuracy
            low, high = wilson.wilson_interval(correct / total, total)
            yield _("Class correct: {correct} of {total} ({share}, 95 % interval {low} to {high})").format(
                correct=correct,
                total=total,
                share=format_number(correct / total, ".1%"),
                low=format_number(low, ".1%"),
                high=format_number(high, ".1%"),
            )


def summarize(
    rows: Sequence[dict[str, Any]],
    given: int,
    skipped: Sequence[tuple[str, str]] = (),
    note: Message | None = None,
    *,
    condition: Condition,
    scheme: ClassScheme | None = None,
) -> Summary:
    """Return the summary of a run.

    Args:
      rows: result_table rows of the images that the run has tried.
      given: number of images that it was to try.
      skipped: (name, reason) of files that were not used.
      note, condition: see Summary.
      scheme: what the classes mean; None: disease or not.
    """
    done = [row for row in rows if not row["error"]]
    detects = scheme is None or bool(scheme.positive)
    judged = [row for row in done if row["correct"] is not None]
    outcomes = collections.Counter(row["outcome"] for row in done)
    return Summary(
        given=given,
        outcomes={each: outcomes[each] for each in outcome.OUTCOMES},
        failed=[row["file"] for row in rows if row["error"]],
        review=[(row["file"], row["reasons"]) for row in done if row["outcome"] == outcome.REVIEW],
        skipped=skipped,
        accuracy=_accuracy(judged) if detects else None,
        note=note,
        condition=condition,
        detects=detects,
        read=len(done),
        **(_class_fields(done, scheme) if scheme and scheme.several else {}),
    )


def _class_fields(rows: Sequence[dict[str, Any]], scheme: ClassScheme) -> dict[str, Any]:
    """Return the fields of a Summary about several classes; only counted classes are counted."""
    counted = [row for row in rows if row["class"] in scheme.counted]
    groups = collections.Counter(row["group"] for row in counted)
    right = [row["class_correct"] for row in rows if row["class_correct"] is not None]
    return {
        "classes": collections.Counter(row.get("class_title") or row["class"] for row in counted).most_common(),
        "groups": groups.most_common() if scheme.groups else [],
        "class_accuracy": (sum(right), len(right)) if right else None,
    }


def _accuracy(rows: Sequence[dict[str, Any]]) -> Accuracy | None:
    if not rows:
        return None
    counts = collections.Counter((row["correct"], conditions.is_detected(row["verdict"])) for row in rows)
    wrong = [row for row in rows if not row["correct"]]
    return Accuracy(
        true_positives=counts[True, True],
        false_positives=counts[False, True],
        true_negatives=counts[True, False],
        false_negatives=counts[False, False],
        reviewed_wrong=sum(row["outcome"] == outcome.REVIEW for row in wrong),
    )


def _more(count: int) -> str:
    return ", …" if count > MAX_NAMES else ""
