"""Measure the frozen graph on the validation split, which training never saw.

python3 Validation.py                           # accuracy, sensitivity, specificity, ROC AUC, … with 95 % intervals
python3 Validation.py --set BatchTestSize=100   # more images a step
python3 Validation.py --set Precision=f32       # in float32 instead of what the classifier uses here
tensorboard --logdir=Model/_logs_eval           # the curves

Reads the shards in Model/Data, Model/ALLGraph.pb and its card. Writes TensorBoard events, metrics.json with every
image's probabilities, confusion.png and roc.png to Model/_logs_eval, and the figures into Model/ALLGraph.json.
"""

import sys

from Classes import Entry


def main(arguments=None) -> int:
    options = Entry.parser(__doc__).parse_args(arguments)
    from Classes import Helpers

    configuration = Helpers.load(options.confs, options.settings)
    Helpers.start_log(configuration, "Validation")
    Entry.import_tensorflow()
    from Classes import Validation

    return Validation.run(configuration)


if __name__ == "__main__":
    sys.exit(Entry.run(main, Entry.TRAINING))
