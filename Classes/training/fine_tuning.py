"""Train a network, or its last blocks, on augmented images."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy
import tensorflow as tf

from Classes.common import class_scheme, interrupts
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.dataset import input_pipeline, tfrecords
from Classes.export import freeze_graph
from Classes.networks import registry
from Classes.training import distributed, loss_functions, mixed_precision, sampling, streaming_metrics, trainers

log = logging.getLogger("Trainer")


class FineTuner(trainers.Trainer):
    """A network whose `blocks` are trained; the other blocks keep their pretrained values.

    Args:
      configuration: Configuration.
      manifest: of the shards.
      blocks: names from the network's BLOCKS.
      pretrained: {variable name: array} of initial values; may be empty.
    Raises:
      ConfigurationError: there are several replicas and fewer training images than one batch.
    """

    distributed = True

    def __init__(
        self,
        configuration: Configuration,
        manifest: tfrecords.Manifest,
        blocks: Sequence[str],
        pretrained: Mapping[str, numpy.ndarray],
    ) -> None:
        labels = numpy.array([image["label"] for image in manifest.splits["train"]], int)
        batch, strategy = configuration["BatchSize"], tf.distribute.get_strategy()
        self.precision = mixed_precision.resolve_precision(configuration["TrainingPrecision"], strategy)
        if strategy.num_replicas_in_sync > 1 and len(labels) < batch:
            raise ConfigurationError(
                Message(
                    "BatchSize is {batch}, but there are only {count} training images. Several workers need at "
                    "least one full batch: set a smaller BatchSize.",
                    batch=batch,
                    count=len(labels),
                ),
                code="batch_size",
            )
        log.info("Training in %s.", mixed_precision.DESCRIPTIONS[self.precision])
        positive = class_scheme.from_configuration(configuration, manifest.classes).positive_indices
        super().__init__(configuration, labels, positive)
        self._manifest, self._labels = manifest, labels
        network = registry.get_network(configuration)
        self._input_spec = network.input_spec(configuration)
        self._exported_names = network.variable_shapes(configuration).keys()
        self._module = network.build_trainable(configuration, blocks, self.steps_per_epoch * configuration["Epochs"])
        with interrupts.defer_signals():
            # The first call creates the variables.
            self._module(tf.zeros([1, self._input_spec.size, self._input_spec.size, 3]), training=True, seed=[0, 0])
        self._variables = self._module.named_variables()
        for name, value in pretrained.items():
            self._variables[name].assign(value)
        trainable = {variable.name.split(":")[0] for variable in self._module.trainable_variables}
        names = [name for name in self._variables if name in trainable and name.split("/")[1] in blocks]
        self.create_state([self._variables[name] for name in names])

    def variables(self) -> dict[str, tf.Variable]:
        """Return everything that training changes, moving statistics included, by its name in a checkpoint."""
        return {**self._variables, **self.state()}

    def network(self) -> dict[str, tf.Variable]:
        """Return the variables to export, without an auxiliary head; `state` holds their averages."""
        return {name: self._variables[name] for name in self._exported_names}

    def logits(self, arrays: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
        """Return the logits, float32 [N, C], of the validation images for the values `arrays` of `network`."""
        return freeze_graph.validation_logits(self.configuration, self._manifest, dict(arrays))

    def batches(self, epoch: int, skip: int) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
        """Return the batches (images uint8 [B, S, S, 3], labels int64 [B]) of an epoch, without the first `skip`."""
        rows = distributed.local_rows(self.strategy, self.configuration["BatchSize"])
        shared = None if self.strategy.num_replicas_in_sync == 1 else rows
        uses = None
        if sampling.is_balanced(self.configuration):
            order = sampling.balanced_order(self._labels, self.configuration["RandomSeed"], epoch)
            uses = numpy.bincount(order, minlength=len(self._labels))
        return input_pipeline.train_dataset(
            self.configuration, self._manifest, self._input_spec, epoch, skip, shared, uses
        )

    @tf.function(autograph=False, reduce_retracing=True)
    def _run_step(
        self, inputs: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, update: bool, stop: tf.Tensor
    ) -> list[tf.Tensor]:
        results = self.strategy.run(self._replica_step, args=(inputs, labels, seed, update, stop))
        return [self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in results]

    def _replica_step(
        self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, update: bool, stop: tf.Tensor
    ) -> trainers.StepResult:
        """Compute one replica's part of a step; the results of all replicas add up to the result of the batch."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.trained)
            logits, auxiliary = self._module(self._normalize(images), training=True, seed=seed)
            loss = self._loss(labels, logits) + self._weight_penalty()
            if auxiliary is not None:
                loss += self.configuration["AuxiliaryWeight"] * self._loss(labels, auxiliary)
            # All parts have the same size, so the mean of their means is the mean over the batch.
            loss /= self.strategy.num_replicas_in_sync
        self._update(tape, loss, update)
        return loss, tf.stack([trainers.count_correct(labels, logits), stop]), self._histogram(labels, logits)

    @tf.function(autograph=False, reduce_retracing=True)
    def _predict(self, images: tf.Tensor) -> tf.Tensor:
        logits = self.strategy.run(lambda each: self._module(self._normalize(each))[0], args=(images,))
        return self.strategy.experimental_local_results(logits)[0]

    def _normalize(self, images: tf.Tensor) -> tf.Tensor:
        return self._input_spec.normalize(tf.cast(images, tf.float32))

    def evaluate(self) -> tuple[float, float, numpy.ndarray]:
        """Return (cross-entropy, accuracy, score histogram int [2, BINS]) of the validation split."""
        sums, histogram = numpy.zeros(3), numpy.zeros((2, streaming_metrics.BINS), "int32")
        place = distributed.rank_and_world_size(self.strategy)
        for images, labels in input_pipeline.eval_dataset(self.configuration, self._manifest, self._input_spec, place):
            with interrupts.defer_signals():
                logits = self._predict(images)
                loss = float(loss_functions.cross_entropy(labels, logits)) * len(labels)
                sums += loss, int(trainers.count_correct(labels, logits)), len(labels)
                histogram += self._histogram(labels, logits).numpy()
        sums, histogram = distributed.all_reduce_sum(self.strategy, [sums, histogram])
        return sums[0] / sums[2], sums[1] / sums[2], histogram
