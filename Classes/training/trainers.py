"""The base of both trainers: an optimizer, a training step, and the values that a checkpoint keeps."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy
import tensorflow as tf
import tf_keras

from Classes.common import interrupts
from Classes.common.config import Configuration
from Classes.networks import collectives
from Classes.training import distributed, loss_functions, lr_schedule, mixed_precision, streaming_metrics

# Of a step on one replica: loss, int [2] of (correct images, stop requests), int [2, BINS] score histogram.
StepResult = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


class Trainer:
    """Train some variables with Adam; the subclasses linear_probe.LinearProbe and fine_tuning.FineTuner say which.

    Args:
      configuration: Configuration.
      labels: int [N] of the training split.
      positive: labels of the positive classes; may be empty.
    Attributes:
      precision: of the steps, see mixed_precision.resolve_precision.
      distributed: whether every worker takes part in the steps; otherwise only the chief trains.
      log_interval: steps per log line, unless `LogEvery` is set.
      trained: the variables that the optimizer changes.
    """

    precision = "f32"
    distributed = False
    log_interval = 1

    def __init__(self, configuration: Configuration, labels: numpy.ndarray, positive: Sequence[int] = (1,)) -> None:
        self.configuration = configuration
        self.strategy = tf.distribute.get_strategy()
        self.positive = positive
        self.steps_per_epoch = max(1, len(labels) // configuration["BatchSize"])
        self._class_weights = tf.constant(loss_functions.class_weights(configuration, labels))
        # The epsilon of TensorFlow 1's Adam (Kingma & Ba, arXiv:1412.6980), as in the historic results. The legacy
        # class runs one kernel per variable: a step takes 6 % less time and half the time to trace.
        self.optimizer = tf_keras.optimizers.legacy.Adam(configuration["LearningRate"], epsilon=1e-8)
        # Reading these creates them as variables here; otherwise the first step would, inside a graph.
        self._rate, self._steps = self.optimizer.learning_rate, self.optimizer.iterations
        self._scale = mixed_precision.LossScale(self.optimizer) if self.precision == "f16" else None
        self._norm = tf.Variable(0.0, name="gradient_norm", trainable=False, **collectives.REPLICA_LOCAL)

    @interrupts.defer_signals()
    def create_state(self, trained: list[tf.Variable]) -> None:
        """Create the optimizer's variables for `trained`, the gradient sums and the weight averages."""
        self.trained = trained
        self._moments = [self.optimizer.add_slot(variable, name) for variable in trained for name in ("m", "v")]
        configuration = self.configuration
        self._sums = _zeros_like(trained, "gradient") if configuration["GradientAccumulationSteps"] > 1 else []
        self._averages = _zeros_like(trained, "average") if configuration["EmaDecay"] else []
        for average, variable in zip(self._averages, trained, strict=False):
            average.assign(variable)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, see lr_schedule.py."""
        return lr_schedule.learning_rate(self.configuration, step, self.steps_per_epoch)

    def train_step(
        self, batch: tuple[Any, Any], step: int, stop_requested: bool = False
    ) -> tuple[float, int, int, numpy.ndarray, bool]:
        """Run one step.

        Args:
          batch: (inputs, labels int64 [N]), one of `batches`.
          step: number of the step, which seeds its dropout.
          stop_requested: whether this worker received a signal to stop.
        Returns:
          (total loss, correctly classified images, images, score histogram int [2, BINS], whether any worker received
          a signal to stop).
        """
        self._rate.assign(self.learning_rate(step))
        seed = tf.constant([self.configuration["RandomSeed"], step], tf.int32)
        update = (step + 1) % self.configuration["GradientAccumulationSteps"] == 0
        inputs, labels = distributed.shard_batch(self.strategy, batch)
        stop = tf.constant(stop_requested, tf.int32)
        loss, counts, histogram = self._run_step(inputs, labels, seed, update, stop)
        (correct, stops), histogram = counts.numpy(), histogram.numpy()
        return float(loss), int(correct), int(histogram.sum()), histogram, bool(stops > 0)

    def batches(self, epoch: int, skip: int) -> Iterable[tuple[Any, Any]]:
        """Return the batches (inputs, labels int64 [B]) of an epoch, without the first `skip`."""
        raise NotImplementedError

    def evaluate(self) -> tuple[float, float, numpy.ndarray]:
        """Return (cross-entropy, accuracy, score histogram int [2, BINS]) of the validation split."""
        raise NotImplementedError

    def variables(self) -> dict[str, tf.Variable]:
        """Return everything that training changes, by its name in a checkpoint."""
        raise NotImplementedError

    def network(self) -> Mapping[str, numpy.ndarray | tf.Variable]:
        """Return the values of the network to export, by variable name."""
        raise NotImplementedError

    def logits(self, arrays: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
        """Return the logits, float32 [N, C], of the validation images for the values `arrays` of `network`."""
        raise NotImplementedError

    def _run_step(
        self, inputs: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, update: bool, stop: tf.Tensor
    ) -> StepResult:
        """Compute a step; `update` is false for all but the last batch of a gradient accumulation."""
        raise NotImplementedError

    def _update(self, tape: tf.GradientTape, loss: tf.Tensor, update: bool) -> None:
        """Accumulate the gradients and, if `update`, change the weights."""
        gradients = (
            self._scale.gradients(tape, loss, self.trained) if self._scale else tape.gradient(loss, self.trained)
        )
        replica = tf.distribute.get_replica_context()
        if self.strategy.num_replicas_in_sync > 1:
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._sums:
            parts = self.configuration["GradientAccumulationSteps"]
            gradients = [total.assign_add(each / parts) for total, each in zip(self._sums, gradients, strict=True)]
            if not update:
                return
        if self.configuration["GradientClip"]:
            gradients, norm = tf.clip_by_global_norm(gradients, self.configuration["GradientClip"])
            self._norm.assign(norm)
        pairs = zip(gradients, self.trained, strict=True)
        # The gradients are already summed over the replicas.
        (self._scale or self.optimizer).apply_gradients(pairs, experimental_aggregate_gradients=False)
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        # Polyak & Juditsky (1992). The decay starts small, as in TensorFlow's ExponentialMovingAverage: otherwise a
        # short run would export its initial weights.
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(float(self.configuration["EmaDecay"]), steps / (9 + steps))
        for average, variable in zip(self._averages, self.trained, strict=False):
            average.assign(average * decay + variable * (1 - decay))

    def metrics(self, histogram: numpy.ndarray) -> dict[str, float]:
        """Return the metrics of the positive classes, see streaming_metrics.metrics_from_histogram; {} without any."""
        return streaming_metrics.metrics_from_histogram(histogram) if self.positive else {}

    def step_metrics(self) -> dict[str, float]:
        """Return the gradient norm and the loss scale of the last update, if they are in use, by TensorBoard name."""
        norm = {"Gradient_Norm": self._norm} if self.configuration["GradientClip"] else {}
        scale = {"Loss_Scale": self._scale.variables()["loss_scale"]} if self._scale else {}
        return {name: float(distributed.local_value(each)) for name, each in {**norm, **scale}.items()}

    def _loss(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return loss_functions.cross_entropy(labels, logits, self._class_weights, self.configuration["LabelSmoothing"])

    def _histogram(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return streaming_metrics.score_histogram(labels, logits, self.positive or [0])

    def _weight_penalty(self) -> tf.Tensor:
        kernels = [variable for variable in self.trained if variable.name.endswith("weights:0")]
        return self.configuration["WeightDecay"] * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    def state(self) -> dict[str, tf.Variable]:
        """Return the variables that training needs besides the network, by their names in a checkpoint."""
        variables = [self._steps, *self._moments, *self._sums, *self._averages]
        scale = self._scale.variables() if self._scale else {}
        return {**{variable.name.split(":")[0]: variable for variable in variables}, **scale}

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Give the network its averaged weights inside this context, if `EmaDecay` asks for averages."""
        former = [variable.numpy() for variable in self.trained] if self._averages else []
        try:
            for variable, average in zip(self.trained, self._averages, strict=False):
                variable.assign(average)
            yield
        finally:
            with interrupts.defer_signals():
                for variable, value in zip(self.trained, former, strict=False):
                    variable.assign(value)


def count_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the number of images whose label has the largest logit."""
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.int32))


def _zeros_like(variables: list[tf.Variable], prefix: str) -> list[tf.Variable]:
    return [
        tf.Variable(
            tf.zeros(each.shape),
            name=f"{prefix}/{each.name.split(':')[0]}",
            trainable=False,
            **collectives.REPLICA_LOCAL,
        )
        for each in variables
    ]
