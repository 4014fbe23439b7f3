"""Train only the last layer, on features that are computed once.

The features stay in their file; at most feature_store.BLOCK_BYTES of them are in memory at a time. The size of such a
block changes no step: each step reads its own batch, and mean and deviation add one image after the other. Only the
logits of the validation images are computed block by block.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy
import tensorflow as tf

from Classes import inception_utils
from Classes.common import interrupts
from Classes.common.config import Configuration
from Classes.networks import registry
from Classes.training import feature_store, loss_functions, sampling, trainers
from Classes.training.feature_store import Features


class LinearProbe(trainers.Trainer):
    """A network's last layer on standardized features.

    The scales of the features differ so much that, without standardization, the historic learning rate would fall to
    zero before the frequent features are learned. The problem is convex, so the weights start at zero.

    Args:
      configuration: Configuration.
      splits: {"train" and "validation": (features float32 [N, F], labels int64 [N])}; the features are an array, or
        FeatureRows that are read when they are needed.
      backbone: {variable name: array} of everything below the last layer.
      positive: labels of the positive classes; may be empty.
    """

    def __init__(
        self,
        configuration: Configuration,
        splits: Mapping[str, tuple[Features, numpy.ndarray]],
        backbone: Mapping[str, numpy.ndarray],
        positive: Sequence[int] = (1,),
    ) -> None:
        super().__init__(configuration, splits["train"][1], positive)
        self.log_interval = self.steps_per_epoch
        self._layer = registry.get_network(configuration).HEAD
        self._backbone = backbone
        self._splits = splits
        self._mean, deviation = feature_store.moments(splits["train"][0])
        # The floor keeps rarely active features from being amplified in the images that have them.
        self._deviation = numpy.maximum(deviation, numpy.float32(0.01))
        shape = [1, 1, len(self._mean), configuration["NumClasses"]]
        self._weights = tf.Variable(tf.zeros(shape), name="standardised/weights")
        self._biases = tf.Variable(tf.zeros(shape[-1:]), name="standardised/biases")
        self.create_state([self._weights, self._biases])

    def variables(self) -> dict[str, tf.Variable]:
        """Return everything that training changes, by its name in a checkpoint."""
        layer = {variable.name.split(":")[0]: variable for variable in (self._weights, self._biases)}
        return {**layer, **self.state()}

    def network(self) -> dict[str, numpy.ndarray]:
        """Return the values of the whole network: averaged if `EmaDecay` is set, the standardization folded in."""
        weights, biases = (variable.numpy() for variable in self._averages or self.trained)
        weights = weights / self._deviation[:, None]
        biases = biases - self._mean @ weights[0, 0]
        return {
            **self._backbone,
            f"{self._layer}/weights": weights,
            f"{self._layer}/biases": biases,
        }

    def logits(self, arrays: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
        """Return the logits, float32 [N, C], of the validation images for a last layer in `arrays`."""
        weights, biases = arrays[f"{self._layer}/weights"], arrays[f"{self._layer}/biases"]
        blocks = feature_store.blocks_of(self._splits["validation"][0])
        logits = [inception_utils.logits_from_features(block, weights, biases).numpy() for _, block in blocks]
        return numpy.concatenate(logits) if logits else numpy.zeros((0, len(biases)), "float32")

    def batches(self, epoch: int, skip: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yield the batches (features float32 [B, F], labels int64 [B]) of an epoch, without the first `skip`."""
        for features, labels in self._blocks(epoch, skip):
            for batch in zip(features, labels, strict=True):
                yield tf.constant(batch[0]), tf.constant(batch[1])

    def train_epoch(self, epoch: int) -> None:
        """Run all steps of an epoch; the same result as `train_step` for each batch, in a third of the time."""
        steps = range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        if self.configuration["GradientAccumulationSteps"] > 1:
            for step, batch in zip(steps, self.batches(epoch, 0), strict=True):
                self.train_step(batch, step)
            return
        first = steps.start
        for features, labels in self._blocks(epoch):
            rates = [self.learning_rate(step) for step in range(first, first + len(labels))]
            self._run_steps(features, labels, tf.constant(rates, tf.float32), tf.constant(first))
            first += len(labels)

    def _blocks(self, epoch: int, skip: int = 0) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
        """Yield (standardized features float32 [n, B, F], labels int64 [n, B]) of the batches of an epoch."""
        features, labels = self._splits["train"]
        rows = self._batch_rows(epoch)[skip:]
        size = max(1, feature_store.rows_per_block(len(self._mean)) // rows.shape[1])
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield self._standardize(features[chosen.reshape(-1)]).reshape(*chosen.shape, -1), labels[chosen]

    def _standardize(self, features: numpy.ndarray) -> numpy.ndarray:
        standardized = features - self._mean
        standardized /= self._deviation
        return standardized

    @tf.function(autograph=False, reduce_retracing=True)
    def _run_steps(self, features: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor, first: tf.Tensor) -> None:
        def step(number: tf.Tensor) -> tf.Tensor:
            self._rate.assign(rates[number])
            seed = tf.stack([self.configuration["RandomSeed"], first + number])
            self._run_step(features[number], labels[number], seed, True, 0)
            return number + 1

        # Sequential, because each step starts from the weights of the one before.
        tf.while_loop(lambda number: number < tf.shape(rates)[0], step, [tf.constant(0)], parallel_iterations=1)

    def _batch_rows(self, epoch: int) -> numpy.ndarray:
        """Return the image indexes of the batches of an epoch, int [steps, B]."""
        count = len(self._splits["train"][1])
        size = min(self.configuration["BatchSize"], count)
        seed = self.configuration["RandomSeed"]
        if sampling.is_balanced(self.configuration):
            order = sampling.balanced_order(self._splits["train"][1], seed, epoch)
        else:
            order = numpy.random.default_rng([seed, epoch]).permutation(count)
        return order[: self.steps_per_epoch * size].reshape(-1, size)

    @tf.function(autograph=False, reduce_retracing=True)
    def _run_step(
        self, inputs: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, update: bool, stop: tf.Tensor
    ) -> trainers.StepResult:
        with tf.GradientTape() as tape:
            keep = 1 - self.configuration["DropoutRate"]
            logits = inception_utils.logits_from_features(inputs, self._weights, self._biases, keep, seed)
            loss = self._loss(labels, logits) + self._weight_penalty()
        self._update(tape, loss, update)
        return loss, tf.stack([trainers.count_correct(labels, logits), stop]), self._histogram(labels, logits)

    @interrupts.defer_signals()
    def evaluate(self) -> tuple[float, float, numpy.ndarray]:
        """Return (cross-entropy, accuracy, score histogram int [2, BINS]) of the validation split."""
        features, labels = self._splits["validation"]
        parts = [
            inception_utils.logits_from_features(self._standardize(block), self._weights, self._biases)
            for _, block in feature_store.blocks_of(features)
        ]
        logits = tf.concat(parts, 0)
        accuracy = int(trainers.count_correct(labels, logits)) / len(labels)
        return float(loss_functions.cross_entropy(labels, logits)), accuracy, self._histogram(labels, logits).numpy()
