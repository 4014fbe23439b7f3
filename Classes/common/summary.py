"""What a run over many images found: counts of all images, the images that need review, and the accuracy if known."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from Classes.common import conditions, outcome, wilson
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
        return self.true_positives + self.true_negatives

    @property
    def total(self) -> int:
        return self.correct + self.false_positives + self.false_negatives

    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval of the proportion of correct results."""
        return wilson.wilson_interval(self.correct / self.total, self.total)


@dataclasses.dataclass(frozen=True)
class Summary:
    """The summary of a run.

    Attributes:
      given: number of images that the run was to read.
      outcomes: number of images for each of outcome.OUTCOMES.
      failed: names of the images without a result.
      review: (name, reason codes) of the images that need review.
      skipped: names of the files that were not used, each with the reason.
      accuracy: None if no image with a result has a known class.
      note: what the results are compared with, or why they are not.
      condition: what is detected.
    """

    given: int
    outcomes: dict[str, int]
    failed: Sequence[str]
    review: Sequence[tuple[str, Sequence[str]]]
    skipped: Sequence[tuple[str, str]]
    accuracy: Accuracy | None
    note: Message | None
    condition: Condition

    @property
    def read(self) -> int:
        """Number of images with a result."""
        return sum(self.outcomes.values())

    @property
    def stopped(self) -> bool:
        """Whether the run ended before it had tried all images."""
        return self.read + len(self.failed) < self.given

    def counts(self) -> list[tuple[str, int]]:
        """Return (what, number of images) for a table, in the language of the reader."""
        return [
            (_("Read"), self.read),
            *((outcome.outcome_text(each, self.condition), self.outcomes[each]) for each in outcome.OUTCOMES),
            (_("Failed"), len(self.failed)),
        ]

    def lines(self) -> Iterator[str]:
        """Yield the summary as sentences in the language of the reader."""
        if self.stopped:
            done = self.read + len(self.failed)
            yield _("Stopped after {done} of {given} images.").format(done=done, given=self.given)
        yield ", ".join(f"{name}: {number}" for name, number in self.counts())
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


def summarize(
    rows: Sequence[dict[str, Any]],
    given: int,
    skipped: Sequence[tuple[str, str]] = (),
    note: Message | None = None,
    *,
    condition: Condition,
) -> Summary:
    """Return the summary of a run.

    Args:
      rows: result_table rows of the images that the run has tried.
      given: number of images that it was to try.
      skipped: (name, reason) of files that were not used.
      note, condition: see Summary.
    """
    done = [row for row in rows if not row["error"]]
    outcomes = collections.Counter(row["outcome"] for row in done)
    return Summary(
        given=given,
        outcomes={each: outcomes[each] for each in outcome.OUTCOMES},
        failed=[row["file"] for row in rows if row["error"]],
        review=[(row["file"], row["reasons"]) for row in done if row["outcome"] == outcome.REVIEW],
        skipped=skipped,
        accuracy=_accuracy([row for row in done if row["correct"] is not None]),
        note=note,
        condition=condition,
    )


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
