"""What is trained: the last layer on kept features, or the network from a block upwards."""

import contextlib
import logging

import numpy
import tensorflow as tf
import tf_keras

from Classes import inception_utils
from Classes.common import interrupts
from Classes.common.errors import ConfigurationError
from Classes.dataset import input_pipeline
from Classes.export import freeze_graph
from Classes.networks import collectives, registry
from Classes.training import distributed, loss_functions, lr_schedule, mixed_precision, streaming_metrics

log = logging.getLogger("Trainer")


class Trainer:
    """The part that both have: an optimizer, a step, and values that a checkpoint keeps.

    Args:
      configuration: Configuration.
      labels: int [N] of the training split.
      positive: label that means ALL.
    Attributes:
      precision: of its steps; see mixed_precision.resolve_precision.
    """

    precision = "f32"

    def __init__(self, configuration, labels, positive=1):
        self.configuration = configuration
        self.strategy = tf.distribute.get_strategy()
        self.positive = positive
        self.steps_per_epoch = max(1, len(labels) // configuration["BatchSize"])
        self._class_weights = tf.constant(loss_functions.class_weights(configuration, labels))
        # The epsilon of TensorFlow 1's Adam, which the historic figures were made with (Kingma & Ba, arXiv:1412.6980).
        # Keras's older form is one kernel a variable: a step is 6 % shorter and traced in half the time.
        self.optimizer = tf_keras.optimizers.legacy.Adam(configuration["LearningRate"], epsilon=1e-8)
        # Variables as soon as they are asked for; else the first step would make them, within a graph.
        self._rate, self._steps = self.optimizer.learning_rate, self.optimizer.iterations
        self._scale = mixed_precision.LossScale(self.optimizer) if self.precision == "f16" else None
        self._norm = tf.Variable(0.0, name="gradient_norm", trainable=False, **collectives.REPLICA_LOCAL)

    @interrupts.defer_signals()
    def start(self, trained):
        """Make the optimizer's state for `trained`, a list of tf.Variable, and what else a step has to remember."""
        self.trained = trained
        self._moments = [self.optimizer.add_slot(variable, name) for variable in trained for name in ("m", "v")]
        configuration = self.configuration
        self._sums = _zeros_like(trained, "gradient") if configuration["GradientAccumulationSteps"] > 1 else []
        self._averages = _zeros_like(trained, "average") if configuration["EmaDecay"] else []
        for average, variable in zip(self._averages, trained, strict=False):
            average.assign(variable)

    def learning_rate(self, step):
        """See Schedule."""
        return lr_schedule.learning_rate(self.configuration, step, self.steps_per_epoch)

    def train(self, batch, step, asked=False):
        """One step.

        Args:
          batch: (inputs, labels int64 [N]) of `batches`.
          step: number of the step, which seeds its dropout.
          asked: whether this worker was asked to stop.
        Returns:
          (total loss, images classified rightly, images, int [2, BINS] of streaming_metrics.score_histogram, whether any worker was asked
          to stop).
        """
        self._rate.assign(self.learning_rate(step))
        seed = tf.constant([self.configuration["RandomSeed"], step], tf.int32)
        last = (step + 1) % self.configuration["GradientAccumulationSteps"] == 0
        asked = tf.constant(asked, tf.int32)
        loss, counts, tally = self._train(*distributed.shard_batch(self.strategy, batch), seed, last, asked)
        (correct, stops), tally = counts.numpy(), tally.numpy()
        return float(loss), int(correct), int(tally.sum()), tally, stops > 0

    def _update(self, tape, loss, last):
        """Change the weights, or with `GradientAccumulationSteps` only after the `last` of its batches."""
        gradients = (
            self._scale.gradients(tape, loss, self.trained) if self._scale else tape.gradient(loss, self.trained)
        )
        replica = tf.distribute.get_replica_context()
        if self.strategy.num_replicas_in_sync > 1:
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._sums:
            share = self.configuration["GradientAccumulationSteps"]
            gradients = [total.assign_add(each / share) for total, each in zip(self._sums, gradients, strict=True)]
            if not last:
                return
        if self.configuration["GradientClip"]:
            gradients, norm = tf.clip_by_global_norm(gradients, self.configuration["GradientClip"])
            self._norm.assign(norm)
        pairs = zip(gradients, self.trained, strict=True)
        # They have been summed over the replicas.
        (self._scale or self.optimizer).apply_gradients(pairs, experimental_aggregate_gradients=False)
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        # Polyak & Juditsky (1992); Inception's own figures are those of such averages. Young ones have a short memory,
        # as in TensorFlow's ExponentialMovingAverage: else a short run would export what it started from.
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(float(self.configuration["EmaDecay"]), steps / (9 + steps))
        for average, variable in zip(self._averages, self.trained, strict=False):
            average.assign(average * decay + variable * (1 - decay))

    def figures(self):
        """{name in TensorBoard: number} of the last change of the weights, as far as it has them."""
        clipped = {"Gradient_Norm": self._norm} if self.configuration["GradientClip"] else {}
        scaled = {"Loss_Scale": self._scale.variables()["loss_scale"]} if self._scale else {}
        return {name: float(distributed.local_value(each)) for name, each in {**clipped, **scaled}.items()}

    def _loss(self, labels, logits):
        return loss_functions.cross_entropy(labels, logits, self._class_weights, self.configuration["LabelSmoothing"])

    def _tally(self, labels, logits):
        return streaming_metrics.score_histogram(labels, logits, self.positive)

    def _penalty(self):
        kernels = [variable for variable in self.trained if variable.name.endswith("weights:0")]
        return self.configuration["WeightDecay"] * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    def state(self):
        """{name in a checkpoint: tf.Variable} of what a step remembers beside the network."""
        variables = [self._steps, *self._moments, *self._sums, *self._averages]
        scale = self._scale.variables() if self._scale else {}
        return {**{variable.name.split(":")[0]: variable for variable in variables}, **scale}

    @contextlib.contextmanager
    def averaged(self):
        """Within it the network has the averaged weights, where there are any: what is measured and exported."""
        former = [variable.numpy() for variable in self.trained] if self._averages else []
        try:
            for variable, average in zip(self.trained, self._averages, strict=False):
                variable.assign(average)
            yield
        finally:
            with interrupts.defer_signals():
                for variable, value in zip(self.trained, former, strict=False):
                    variable.assign(value)


class LinearProbe(Trainer):
    """A network's last layer on features that are computed once.

    It learns on standardised features: as they come, their sizes differ so much that the historic learning rate would
    end long before the common ones count. The problem is convex, so zeros are as good a start as any and favour no
    class.

    Args:
      configuration: Configuration.
      splits: {"train" and "validation": (features float32 [N, F], labels int64 [N])}.
      backbone: {variable name: array} of everything below.
      positive: label that means ALL.
    """

    def __init__(self, configuration, splits, backbone, positive=1):
        super().__init__(configuration, splits["train"][1], positive)
        self._layer = registry.get_network(configuration).HEAD
        self._backbone = backbone
        self._mean, self._deviation = _standardization(splits["train"][0])
        self._validation = splits["validation"][0]
        self._splits = {
            split: ((features - self._mean) / self._deviation, labels) for split, (features, labels) in splits.items()
        }
        shape = [1, 1, len(self._mean), configuration["NumClasses"]]
        self._weights = tf.Variable(tf.zeros(shape), name="standardised/weights")
        self._biases = tf.Variable(tf.zeros(shape[-1:]), name="standardised/biases")
        self.start([self._weights, self._biases])

    def variables(self):
        """{name: tf.Variable} of what training changes."""
        layer = {variable.name.split(":")[0]: variable for variable in (self._weights, self._biases)}
        return {**layer, **self.state()}

    def network(self):
        """{variable name: array} of the whole network, the standardisation within the last layer."""
        weights = self._weights.numpy() / self._deviation[:, None]
        biases = self._biases.numpy() - self._mean @ weights[0, 0]
        return {
            **self._backbone,
            f"{self._layer}/weights": weights,
            f"{self._layer}/biases": biases,
        }

    def logits(self, arrays):
        """What a network with this backbone says to the validation images, float32 [N, C]; see `network`."""
        layer = (arrays[f"{self._layer}/{kind}"] for kind in ("weights", "biases"))
        return inception_utils.logits_from_features(self._validation, *layer).numpy()

    def batches(self, epoch, skip):
        """The batches of an epoch from the `skip`-th on: (features float32 [B, F], labels int64 [B])."""
        features, labels = self._splits["train"]
        for chosen in self._order(epoch)[skip:]:
            yield tf.constant(features[chosen]), tf.constant(labels[chosen])

    def train_epoch(self, epoch):
        """All steps of an epoch: they leave what `train` leaves batch by batch, in a third of the time."""
        steps = range(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        if self.configuration["GradientAccumulationSteps"] > 1:
            for step, batch in zip(steps, self.batches(epoch, 0), strict=True):
                self.train(batch, step)
            return
        rates = tf.constant([self.learning_rate(step) for step in steps], tf.float32)
        self._train_epoch(*self._splits["train"], self._order(epoch), rates, tf.constant(steps.start))

    @tf.function(autograph=False, reduce_retracing=True)
    def _train_epoch(self, features, labels, order, rates, first):
        def step(number):
            self._rate.assign(rates[number])
            seed = tf.stack([self.configuration["RandomSeed"], first + number])
            self._train(tf.gather(features, order[number]), tf.gather(labels, order[number]), seed, True, 0)
            return number + 1

        # One after the other: each begins with the weights that the one before leaves.
        tf.while_loop(lambda number: number < tf.shape(order)[0], step, [tf.constant(0)], parallel_iterations=1)

    def _order(self, epoch):
        """Which images the batches of an epoch hold, int [steps, B]."""
        count = len(self._splits["train"][1])
        size = min(self.configuration["BatchSize"], count)
        order = numpy.random.default_rng([self.configuration["RandomSeed"], epoch]).permutation(count)
        return order[: self.steps_per_epoch * size].reshape(-1, size)

    @tf.function(autograph=False, reduce_retracing=True)
    def _train(self, features, labels, seed, last, asked):
        with tf.GradientTape() as tape:
            keep = 1 - self.configuration["DropoutRate"]
            logits = inception_utils.logits_from_features(features, self._weights, self._biases, keep, seed)
            loss = self._loss(labels, logits) + self._penalty()
        self._update(tape, loss, last)
        return loss, tf.stack([_count_correct(labels, logits), asked]), self._tally(labels, logits)

    @interrupts.defer_signals()
    def evaluate(self):
        """(cross entropy, accuracy, int [2, BINS] of streaming_metrics.score_histogram) of the validation split."""
        features, labels = self._splits["validation"]
        logits = inception_utils.logits_from_features(features, self._weights, self._biases)
        accuracy = int(_count_correct(labels, logits)) / len(labels)
        return float(loss_functions.cross_entropy(labels, logits)), accuracy, self._tally(labels, logits).numpy()


class FineTuner(Trainer):
    """A network from a block upwards, on distorted images.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest.
      blocks: names from the network's BLOCKS that are trained.
      pretrained: {variable name: array} to start from, possibly empty.
    """

    def __init__(self, configuration, manifest, blocks, pretrained):
        labels = numpy.array([image["label"] for image in manifest.splits["train"]], int)
        batch, strategy = configuration["BatchSize"], tf.distribute.get_strategy()
        self.precision = mixed_precision.resolve_precision(configuration["TrainingPrecision"], strategy)
        if strategy.num_replicas_in_sync > 1 and len(labels) < batch:
            raise ConfigurationError(
                f"BatchSize is {batch} and there are {len(labels)} training images; workers share whole batches, "
                "so choose a smaller one"
            )
        log.info("Training in %s.", mixed_precision.DESCRIPTIONS[self.precision])
        super().__init__(configuration, labels, manifest.classes.index(configuration["PositiveClass"]))
        self._manifest = manifest
        network = registry.get_network(configuration)
        self._view = network.input_spec(configuration)
        self._served = network.variable_shapes(configuration).keys()
        self._module = network.build_trainable(configuration, blocks, self.steps_per_epoch * configuration["Epochs"])
        with interrupts.defer_signals():
            self._module(tf.zeros([1, self._view.size, self._view.size, 3]), training=True, seed=[0, 0])
        self._variables = self._module.named_variables()
        for name, value in pretrained.items():
            self._variables[name].assign(value)
        trainable = {variable.name.split(":")[0] for variable in self._module.trainable_variables}
        self.start([self._variables[name] for name in self._variables if name in trainable and _block(name) in blocks])

    def variables(self):
        """{name: tf.Variable} of what training changes, moving statistics included."""
        return {**self._variables, **self.state()}

    def network(self):
        """{variable name: tf.Variable} of what answers, thus without an auxiliary head."""
        return {name: self._variables[name] for name in self._served}

    def logits(self, arrays):
        """What a network says to the validation images, float32 [N, C]; see `network`."""
        return freeze_graph.validation_logits(self.configuration, self._manifest, arrays)

    def batches(self, epoch, skip):
        """The batches of an epoch from the `skip`-th on: (images uint8 [B, S, S, 3], labels int64 [B])."""
        rows = distributed.local_rows(self.strategy, self.configuration["BatchSize"])
        shared = None if self.strategy.num_replicas_in_sync == 1 else rows
        return input_pipeline.train_dataset(self.configuration, self._manifest, self._view, epoch, skip, shared)

    @tf.function(autograph=False, reduce_retracing=True)
    def _train(self, images, labels, seed, last, asked):
        found = self.strategy.run(self._step, args=(images, labels, seed, last, asked))
        return [self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in found]

    def _step(self, images, labels, seed, last, asked):
        """A replica's part of a step: (its share of the loss, [its images classified rightly, asked], its tally)."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.trained)
            logits, auxiliary = self._module(self._inputs(images), training=True, seed=seed)
            loss = self._loss(labels, logits) + self._penalty()
            if auxiliary is not None:
                loss += self.configuration["AuxiliaryWeight"] * self._loss(labels, auxiliary)
            # All parts are of one size, so the mean over the batch is the mean over their means.
            loss /= self.strategy.num_replicas_in_sync
        self._update(tape, loss, last)
        return loss, tf.stack([_count_correct(labels, logits), asked]), self._tally(labels, logits)

    @tf.function(autograph=False, reduce_retracing=True)
    def _answer(self, images):
        answers = self.strategy.run(lambda each: self._module(self._inputs(each))[0], args=(images,))
        return self.strategy.experimental_local_results(answers)[0]

    def _inputs(self, images):
        return self._view.normalize(tf.cast(images, tf.float32))

    def evaluate(self):
        """As LastLayer's; with moving statistics and undistorted images."""
        sums, tally = numpy.zeros(3), numpy.zeros((2, streaming_metrics.BINS), "int32")
        place = distributed.rank_and_world_size(self.strategy)
        for images, labels in input_pipeline.eval_dataset(self.configuration, self._manifest, self._view, place):
            with interrupts.defer_signals():
                logits = self._answer(images)
                loss = float(loss_functions.cross_entropy(labels, logits)) * len(labels)
                sums += loss, int(_count_correct(labels, logits)), len(labels)
                tally += self._tally(labels, logits).numpy()
        sums, tally = distributed.all_reduce_sum(self.strategy, [sums, tally])
        return sums[0] / sums[2], sums[1] / sums[2], tally


def _standardization(features):
    """Mean and standard deviation of every feature, float32 [F] each."""
    # A feature that next to no training image has must not become a shout in the image that has it.
    return features.mean(axis=0), numpy.maximum(features.std(axis=0), numpy.float32(0.01))


def _block(name):
    return name.split("/")[1]


def _zeros_like(variables, kind):
    """Variables of zeros in the shapes of others."""
    return [
        tf.Variable(
            tf.zeros(each.shape), name=f"{kind}/{each.name.split(':')[0]}", trainable=False, **collectives.REPLICA_LOCAL
        )
        for each in variables
    ]


def _count_correct(labels, logits):
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.int32))
