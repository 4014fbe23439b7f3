"""Measure how often the intervals of Validation.py Field cover the truth, on simulated photographs.

.venv/bin/python benchmarks/field_intervals.py

Every photograph has one to `most` white cells. A photograph is harder or easier than others: the probability of a miss
is drawn from a beta distribution (`spread` is the correlation of two cells of a photograph). False cells follow a
Poisson distribution. docs/metrics.md has the results.
"""

import argparse
import pathlib
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from Classes.evaluation import field_metrics
from Classes.evaluation.field_metrics import MeasuredField
from Classes.imaging.annotations.record import AnnotatedCell

REPETITIONS = 400


def simulate(
    generator: numpy.random.Generator, photographs: int, most: int, miss: float, false: float, spread: float
) -> list[MeasuredField]:
    fields = []
    for number in range(photographs):
        cells = tuple(
            AnnotatedCell(100.0 * place, 50.0, 20.0, 20.0, "") for place in range(generator.integers(most) + 1)
        )
        total = 1 / spread - 1
        missed = generator.beta(miss * total, (1 - miss) * total)
        found = [cell for cell in cells if generator.random() >= missed]
        found += [AnnotatedCell(50.0 + 100 * place, 500.0, 20.0, 20.0, "") for place in range(generator.poisson(false))]
        fields.append(MeasuredField(str(number), str(number), cells, tuple(found)))
    return fields


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    print("| photographs | cells each | missed | false per photograph | recall | precision | F1 | count error |")
    print("|---|---|---|---|---|---|---|---|")
    for photographs, most, miss, false in (
        (30, 20, 0.1, 1),
        (87, 3, 0.02, 0.03),
        (87, 3, 0.1, 0.2),
        (300, 20, 0.05, 0.5),
    ):
        generator = numpy.random.default_rng(50)
        cells = (1 + most) / 2
        right = cells * (1 - miss)
        truth = {
            "recall": 1 - miss,
            "precision": right / (right + false),
            "f1": 2 * right / (cells + right + false),
            "count_error": false - cells * miss,
        }
        covered = dict.fromkeys(truth, 0)
        known = dict.fromkeys(truth, 0)
        for _ in range(REPETITIONS):
            metrics = field_metrics.evaluate_fields(simulate(generator, photographs, most, miss, false, 0.1))
            for name, value in truth.items():
                if metrics[name]["interval"]:
                    low, high = metrics[name]["interval"]
                    known[name] += 1
                    covered[name] += low <= value <= high
        shares = " | ".join(f"{covered[name] / max(1, known[name]):.3f}" for name in truth)
        print(f"| {photographs} | 1 to {most} | {miss:.0%} | {false} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
