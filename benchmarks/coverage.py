"""Simulate how often the 95 % intervals hold the true value when images come in groups.

python3 benchmarks/coverage.py                  # every design below, for docs/metrics.md
python3 benchmarks/coverage.py --runs 500       # the same, rougher

For each set of group sizes and each proportion: the coverage of Wilson's interval over images, and that of the one the
project prints, without correlation within groups and with 1/3. The last table is the bootstrap interval of ROC AUC.
"""

import argparse
import pathlib
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.common import statistics
from Classes.evaluation import classification_metrics

SIZES = {
    "200 x 1": [1] * 200,
    "100 x 2": [2] * 100,
    "40 x 5": [5] * 40,
    "20 x 4": [4] * 20,
    "8 x 10": [10] * 8,
    "5 x 12": [12] * 5,
    "40, of 1 to 9": [1 + number % 9 for number in range(40)],
    "20 x 4 and 1 x 40": [4] * 20 + [40],
}
PROPORTIONS = (0.5, 0.9, 0.97, 0.99)
CORRELATIONS = (0, 1 / 3)


def sample_hits(generator, sizes, proportion, correlation):
    """Bool [N], hits of the images in groups of these sizes: beta-binomial with a correlation within groups."""
    if correlation:
        total = (1 - correlation) / correlation
        chances = generator.beta(proportion * total, (1 - proportion) * total, len(sizes))
    else:
        chances = numpy.full(len(sizes), proportion)
    return generator.random(sum(sizes)) < numpy.repeat(chances, sizes)


def coverage(interval, sizes, proportion, correlation, runs, seed=0):
    """(Fraction of the intervals that hold `proportion`, their mean width); `interval` takes hits and groups."""
    generator = numpy.random.default_rng(seed)
    groups = numpy.repeat(numpy.arange(len(sizes)), sizes)
    ends = numpy.array([interval(sample_hits(generator, sizes, proportion, correlation), groups) for _ in range(runs)])
    return float(((ends[:, 0] <= proportion) & (proportion <= ends[:, 1])).mean()), float(
        (ends[:, 1] - ends[:, 0]).mean()
    )


def area_coverage(sizes, correlation, runs, seed=0):
    """The coverage of the bootstrap interval of ROC AUC for half of the groups positive and a true AUC of 0.921."""
    generator = numpy.random.default_rng(seed)
    groups = numpy.repeat(numpy.arange(len(sizes)), sizes)
    positive, hits, found = groups % 2 == 1, 0, 0
    for _ in range(runs):
        common = numpy.repeat(generator.normal(0, 1, len(sizes)), sizes) * correlation**0.5
        scores = 2 * positive + common + generator.normal(0, 1, len(groups)) * (1 - correlation) ** 0.5
        ends = classification_metrics.evaluate_predictions(positive, scores, scores > 1, groups)["roc_auc"]["interval"]
        if ends:
            found, hits = found + 1, hits + (ends[0] <= 0.92135 <= ends[1])
    return hits / max(found, 1)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    options = parser.parse_args(arguments)
    kinds = {
        "Wilson over images": lambda hits, _: statistics.proportion_interval(hits),
        "printed": statistics.proportion_interval,
    }
    heads = [f"{kind}, {correlation:.2g}" for correlation in CORRELATIONS for kind in kinds]
    print("| groups x images | proportion |", " | ".join(heads), "|\n|---|---|" + "---|" * len(heads))
    for name, sizes in SIZES.items():
        for proportion in PROPORTIONS:
            cells = [
                "{:.3f} ({:.3f})".format(*coverage(interval, sizes, proportion, correlation, options.runs))
                for correlation in CORRELATIONS
                for interval in kinds.values()
            ]
            print(f"| {name} | {proportion:g} |", " | ".join(cells), "|", flush=True)
    print("\n| groups x images | ROC AUC, 0 | 0.33 |\n|---|---|---|")
    for name in ("40 x 5", "20 x 4", "8 x 10"):
        cells = (f"{area_coverage(SIZES[name], each, max(options.runs // 10, 1)):.3f}" for each in CORRELATIONS)
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
