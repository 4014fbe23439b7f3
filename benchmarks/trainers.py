"""One way of training the network, in a process of its own: started by training.py, which asks it for times.

python3 benchmarks/trainers.py KIND [--set Key=value]      # KIND: f32 bf16 Mixed_7a keras features keras-features

f32, bf16 and keras take a step with the whole network on a batch, Mixed_7a one from that block upwards as
TrainingPrecision=AUTO computes it; features and keras-features are the backbone's answers to new images, which training
of the last layer begins with.
"""

import pathlib
import resource
import sys
import tempfile
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import timing
from Classes.common import cli


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("kind", choices=KINDS)
    options = parser.parse_args(arguments)
    cli.import_tensorflow()
    from Classes import Helpers

    configuration = Helpers.load_config(options.confs, [*options.settings, "Pretrained=none"])
    run = KINDS[options.kind](configuration)

    def answer(question):
        """{"seconds": of one step, or for `images` images; "kilobytes": the most memory so far}."""
        start = time.perf_counter()
        run(question.get("images"))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}

    timing.serve({}, answer)
    return 0


def _batch(configuration):
    import numpy

    from Classes.networks import registry

    size, batch = registry.get_network(configuration).input_spec(configuration).size, configuration["BatchSize"]
    generator = numpy.random.default_rng(0)
    return generator.integers(0, 256, (batch, size, size, 3), dtype="uint8"), generator.integers(0, 2, batch)


def ours(precision, block=None):
    """A step of Trainer.py: all layers, or those from one block on."""

    def open_it(configuration):
        from Classes.networks import registry
        from Classes.training import fine_tuning, mixed_precision

        chosen = configuration.replace(TrainingPrecision=precision)
        images, labels = _batch(configuration)
        manifest = types.SimpleNamespace(splits={"train": [{"label": 0}] * 100 * len(labels)}, classes=["0", "1"])
        blocks = registry.get_network(chosen).BLOCKS
        trainer = fine_tuning.FineTuner(chosen, manifest, blocks[blocks.index(block) if block else 0 :], {})
        steps = iter(range(10**6))

        def run(_):
            with mixed_precision.graph_rewrite_scope(trainer.precision):
                return trainer.train_step((images, labels), next(steps))

        return run

    return open_it


def keras(configuration):
    """Keras's own: the same network from random weights, Adam, float32, by train_on_batch."""
    import keras as library

    model = library.applications.InceptionV3(weights=None, classes=2)
    model.compile(library.optimizers.Adam(configuration["LearningRate"]), "sparse_categorical_crossentropy")
    images, labels = _batch(configuration)
    inputs = images.astype("float32") / 128 - 1
    return lambda _: model.train_on_batch(inputs, labels)


def features(configuration):
    """Trainer.py's features of new images: decoded, through the backbone, written to the cache."""
    import numpy

    from Classes.dataset import shard_index, tfrecords
    from Classes.networks import registry
    from Classes.training import feature_extraction

    shapes = registry.get_network(configuration).variable_shapes(configuration)
    arrays = {
        name: numpy.full(shape, 1 if name.endswith("variance") else 0.01, "float32") for name, shape in shapes.items()
    }

    def run(images):
        # Each as often as it takes.
        index = shard_index.index_shards(tfrecords.load_manifest(configuration), ["train"])
        repeated = index.select(numpy.arange(images) % len(index))
        with tempfile.TemporaryDirectory() as folder:
            chosen = configuration.replace(FeatureCache=folder)
            return feature_extraction.extract_features(chosen, arrays, "benchmark", repeated)

    return run


def keras_features(configuration):
    """Keras's: the network without its head, by predict, on images that are ready."""
    import keras as library
    import numpy

    model = library.applications.InceptionV3(weights=None, include_top=False, pooling="avg", input_shape=(299, 299, 3))
    inputs = (_batch(configuration)[0].astype("float32") / 128 - 1)[:1]
    return lambda images: model.predict(numpy.repeat(inputs, images, axis=0), batch_size=32, verbose=0)


KINDS = {
    "f32": ours("f32"),
    "bf16": ours("bf16"),
    "Mixed_7a": ours("AUTO", "Mixed_7a"),
    "keras": keras,
    "features": features,
    "keras-features": keras_features,
}

if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.TRAINING))
