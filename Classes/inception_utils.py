"""Parts of TF-Slim's Inception V3: arg scope, synchronized batch norm, last layer, batch-norm folding.

Inception V3 is the network of Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
arXiv:1512.00567.
"""

import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import tensorflow as tf

from Classes.networks import collectives

# tf_slim's batch norm imports this module under a name that tf_keras no longer has, so the name must exist before
# tf_slim is imported.
sys.modules.setdefault(
    "tf_keras.legacy_tf_layers.normalization",
    importlib.import_module("tf_keras.src.legacy_tf_layers.normalization"),
)

import tf_slim  # noqa: E402

# As in the published checkpoints.
BATCH_NORM_EPSILON = 0.001

LOGITS_LAYER = "InceptionV3/Logits/Conv2d_1c_1x1"

# TF-Slim's names from the input to the output; AuxLogits follows Mixed_6e.
BLOCKS = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
    "Mixed_6d",
    "Mixed_6e",
    "AuxLogits",
    "Mixed_7a",
    "Mixed_7b",
    "Mixed_7c",
    "Logits",
)


def arg_scope(
    training: bool = False, trained_blocks: Sequence[str] = (), decay: float = 0.9997, folded: bool = False
) -> Any:
    """Return a tf_slim arg scope with the arguments of every convolution.

    Args:
      training: whether a training step is built.
      trained_blocks: names from BLOCKS whose batch norms use batch statistics in a training step. The others use their
        moving statistics, as in evaluation.
      decay: of the moving averages, below 1.
      folded: use a bias instead of a batch norm, for kernels of `fold_batch_norm`.
    """

    def batch_norm(inputs: tf.Tensor, **options: Any) -> tf.Tensor:
        block = tf.compat.v1.get_variable_scope().name.split("/")[1]
        trained = training and block in trained_blocks
        if trained and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return synchronized_batch_norm(inputs, **options)
        return tf_slim.batch_norm(inputs, is_training=trained, **options)

    # With variables_collections or updates_collections=None, tf_slim calls functions that TensorFlow no longer has.
    with tf_slim.arg_scope(
        [tf_slim.conv2d],
        activation_fn=tf.nn.relu,
        normalizer_fn=None if folded else batch_norm,
        normalizer_params=None if folded else {"decay": decay, "epsilon": BATCH_NORM_EPSILON},
    ) as scope:
        return scope


def synchronized_batch_norm(inputs: tf.Tensor, decay: float, epsilon: float) -> tf.Tensor:
    """Normalize with the statistics of the whole batch, as tf_slim.batch_norm does on one replica.

    Args:
      inputs: float32 [N, H, W, C], a replica's part of the batch.
      decay, epsilon: see tf_slim.batch_norm.
    Returns:
      float32 [N, H, W, C].
    """
    with tf.compat.v1.variable_scope("BatchNorm") as scope:
        beta = _statistic("beta", inputs, trainable=True)
        moving_mean = _statistic("moving_mean", inputs)
        moving_variance = _statistic("moving_variance", inputs, tf.compat.v1.ones_initializer())
    outputs, mean, variance, count = _sync_batch_norm_op(inputs, beta, epsilon, scope.name)
    # TensorFlow's own kernel also keeps the unbiased variance.
    for moving, found in ((moving_mean, mean), (moving_variance, variance * count / tf.maximum(count - 1, 1))):
        moving.assign(moving * decay + tf.stop_gradient(found) * (1 - decay))
    return outputs


def _sync_batch_norm_op(
    inputs: tf.Tensor, beta: tf.Tensor, epsilon: float, name: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return (normalized inputs, mean, variance, count), the last three of the whole batch.

    Ioffe & Szegedy, arXiv:1502.03167. It uses TensorFlow's fused kernels: with elementary operations a step takes twice
    as long.

    Args:
      name: of this batch norm, see collectives.all_reduce_in_step.
    """
    ones = tf.ones_like(beta)
    kernel = functools.partial(tf.raw_ops.FusedBatchNormV3, epsilon=epsilon)

    @tf.custom_gradient
    def normalize(inputs: tf.Tensor, beta: tf.Tensor) -> Any:
        """Return (outputs, mean, variance, rows of the batch) and the gradient."""
        local = kernel(x=inputs, scale=ones, offset=beta, mean=[], variance=[], is_training=True)
        rows = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        # The variance that the kernel returns is unbiased.
        squares = local.batch_variance * (rows - 1) + local.batch_mean**2 * rows
        sums = collectives.all_reduce_in_step(tf.concat([local.batch_mean * rows, squares, [rows]], 0), name)
        count = sums[-1]
        mean, square = tf.split(sums[:-1] / count, 2)
        variance = tf.maximum(square - mean * mean, 0)
        outputs = kernel(x=inputs, scale=ones, offset=beta, mean=mean, variance=variance, is_training=False).y

        def gradient(of_outputs: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """Return the gradients for inputs and beta."""
            # The gradient for constant mean and variance, minus the part that comes from them, which is linear in the
            # inputs.
            given = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=of_outputs,
                x=inputs,
                scale=ones,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=[],
                epsilon=epsilon,
                is_training=False,
            )
            sums = tf.concat([given.scale_backprop, given.offset_backprop], 0)
            means = collectives.all_reduce_in_step(sums, f"{name}/gradient") / count
            slope, offset = (each * tf.math.rsqrt(variance + epsilon) for each in tf.split(means, 2))
            line = kernel(x=inputs, scale=slope, offset=offset, mean=mean, variance=variance, is_training=False)
            return given.x_backprop - line.y, given.offset_backprop

        return (outputs, mean, variance, count), gradient

    # tf.custom_gradient does not accept variables as arguments.
    return normalize(inputs, tf.identity(beta))


def _statistic(name: str, inputs: tf.Tensor, initializer: Any = None, trainable: bool = False) -> tf.Variable:
    return tf.compat.v1.get_variable(
        name,
        [inputs.shape[-1]],
        initializer=initializer or tf.compat.v1.zeros_initializer(),
        trainable=trainable,
        **({} if trainable else collectives.REPLICA_LOCAL),
    )


def logits_from_features(
    features: tf.Tensor, weights: tf.Tensor, biases: tf.Tensor, keep: float = 1.0, seed: Any = None
) -> tf.Tensor:
    """Apply the last layer to pooled features.

    Args:
      features: float32 [N, F], the globally pooled activations of Mixed_7c.
      weights: float32 [1, 1, F, C], TF-Slim's 1x1 convolution.
      biases: float32 [C].
      keep: fraction of the features that dropout keeps, 1 outside training.
      seed: int [2], of the stateless dropout, so that a resumed run has the same dropout as an uninterrupted one.
    Returns:
      logits, float32 [N, C].
    """
    if keep < 1:
        features = _dropout(features, keep, seed)
    return tf.matmul(features, weights[0, 0]) + biases


def _dropout(features: tf.Tensor, keep: float, seed: Any) -> tf.Tensor:
    """Draw the dropout of the whole batch and apply this replica's rows, as one replica alone would."""
    replica, count = tf.distribute.get_replica_context(), tf.distribute.get_strategy().num_replicas_in_sync
    if replica is None or count == 1:
        return tf.nn.experimental.stateless_dropout(features, rate=1 - keep, seed=seed)
    rows, width = tf.shape(features)[0], features.shape[-1]
    whole = tf.nn.experimental.stateless_dropout(tf.ones([rows * count, width]), rate=1 - keep, seed=seed)
    return features * tf.slice(whole, [rows * replica.replica_id_in_sync_group, 0], [rows, width])


def fold_batch_norm(arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Fold each batch norm into the convolution before it.

    With moving mean m, variance v and offset b, the normalized conv(x, W) equals conv(x, W s) + (b - m s) for
    s = 1 / sqrt(v + epsilon); TF-Slim's Inception has no scale parameter.

    Args:
      arrays: {variable name: float32 array} of a checkpoint.
    Returns:
      {variable name: array}: `weights` and `biases` only, of the inference network.
    """
    folded = {}
    for name, kernel in arrays.items():
        layer, _, kind = name.rpartition("/")
        if kind != "weights" or "/AuxLogits/" in name:
            continue
        norm = f"{layer}/BatchNorm/"
        if norm + "beta" in arrays:
            scale = 1 / numpy.sqrt(arrays[norm + "moving_variance"].astype("float64") + BATCH_NORM_EPSILON)
            folded[name] = (kernel * scale).astype("float32")
            folded[f"{layer}/biases"] = (arrays[norm + "beta"] - arrays[norm + "moving_mean"] * scale).astype("float32")
        else:
            folded[name] = kernel
            folded[f"{layer}/biases"] = arrays[f"{layer}/biases"]
    return folded


def unfold_batch_norm(arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Return variables with batch norms of which `fold_batch_norm` makes the same network.

    Batch norm removes the scale of a kernel, so the folded kernel serves as well as the original. What folding loses is
    the mean before it, which matters only when the network is trained further.

    Args:
      arrays: {variable name: float32 array} of an inference network; `<layer>/BatchNorm/moving_mean` are the means of
        the folded convolutions without bias, 0 if they are missing.
    """
    unfolded = {}
    for name, values in arrays.items():
        layer, _, kind = name.rpartition("/")
        if kind != "biases" or layer == LOGITS_LAYER:
            unfolded[name] = values
            continue
        norm = f"{layer}/BatchNorm/"
        mean = arrays.get(norm + "moving_mean", numpy.zeros_like(values))
        unfolded[norm + "beta"] = values + mean
        unfolded[norm + "moving_mean"] = mean
        unfolded[norm + "moving_variance"] = numpy.full_like(values, 1 - BATCH_NORM_EPSILON)
    return unfolded


def folded_moving_means(arrays: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Return the means that `unfold_batch_norm` needs to restore `arrays`, {variable name: array} with batch norms."""
    means = {}
    for name, mean in arrays.items():
        layer, _, kind = name.rpartition("/")
        if kind == "moving_mean" and "/AuxLogits/" not in name:
            variance = arrays[f"{layer}/moving_variance"].astype("float64")
            means[name] = (mean / numpy.sqrt(variance + BATCH_NORM_EPSILON)).astype("float32")
    return means
