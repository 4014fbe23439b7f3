"""How often the 95 % interval of the blast fraction holds the true fraction, in simulated films.

python3 benchmarks/blast_fraction.py                 # 2,000 films for each row
python3 benchmarks/blast_fraction.py --films 20000

A film is a random sample of cells. The classifier errs with its true sensitivity and specificity; what the interval
knows of them is measured on a random validation set, anew for every film. The plain column is Wilson's interval of the
observed fraction, which takes the classifier for perfect.
"""

import argparse
import pathlib
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Classes.common.blast_fraction import MeasuredRate, estimate_blast_fraction

FRACTIONS = (0.05, 0.2, 0.5)
# Sensitivity, specificity, blasts and other cells they were measured on, cells per film.
SETTINGS = (
    (0.95, 0.97, 100, 300, 200),
    (0.9, 0.95, 60, 150, 100),
    (0.98, 0.99, 200, 500, 500),
    (1.0, 0.98, 80, 120, 200),
)


def coverage(generator, fraction, setting, films):
    """Return how often the corrected and the plain interval hold the true fraction, 0 to 1."""
    sensitivity, specificity, positives, negatives, cells = setting
    corrected = plain = 0
    for _ in range(films):
        blasts = generator.binomial(cells, fraction)
        called = generator.binomial(blasts, sensitivity) + generator.binomial(cells - blasts, 1 - specificity)
        rates = [
            MeasuredRate(generator.binomial(size, rate) / size, size)
            for rate, size in ((sensitivity, positives), (specificity, negatives))
        ]
        found = estimate_blast_fraction(int(called), cells, *rates)
        low, high = found.corrected_interval
        corrected += low <= fraction <= high
        low, high = found.observed_interval
        plain += low <= fraction <= high
    return corrected / films, plain / films


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=50)
    options = parser.parse_args(arguments)
    generator = numpy.random.default_rng(options.seed)
    print("sensitivity  specificity  measured on  cells  true fraction  covered  plain")
    for setting in SETTINGS:
        for fraction in FRACTIONS:
            corrected, plain = coverage(generator, fraction, setting, options.films)
            sensitivity, specificity, positives, negatives, cells = setting
            about = f"{sensitivity:11.2f}  {specificity:11.2f}  {positives:4} + {negatives:4}  {cells:5}"
            print(f"{about}  {fraction:13.2f}  {corrected:7.3f}  {plain:5.3f}")


if __name__ == "__main__":
    main()
