"""What the TF-Slim network needs around it: an arg scope, the last layer, batch-norm folding.

Inception V3 is the network of Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
arXiv:1512.00567.
"""

import functools
import importlib
import sys

import numpy
import tensorflow as tf

from Classes.networks import collectives

# tf_slim's batch norm reaches its layer through a lazy name that tf_keras keeps under another one; the real module
# has to stand under the lazy name before tf_slim is imported.
sys.modules.setdefault(
    "tf_keras.legacy_tf_layers.normalization",
    importlib.import_module("tf_keras.src.legacy_tf_layers.normalization"),
)

import tf_slim  # noqa: E402

# The value of the published checkpoints; another one would change what their moving statistics mean.
BATCH_NORM_EPSILON = 0.001

LOGITS_LAYER = "InceptionV3/Logits/Conv2d_1c_1x1"

# From the input to the output, as TF-Slim names them; AuxLogits hangs on Mixed_6e.
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


def arg_scope(training=False, trained_blocks=(), decay=0.9997, folded=False):
    """The arguments of every convolution.

    Args:
      training: whether a training step is built.
      trained_blocks: names from BLOCKS whose batch norm uses the batch in a training step; every other block
        keeps its moving statistics, since a frozen block that normalised with a batch of ten would not be the
        block that is evaluated later.
      decay: memory of the moving averages, below 1.
      folded: no batch norm at all but a bias, for kernels of `fold_batch_norm`.
    Returns:
      a tf_slim arg scope.
    """

    def batch_norm(inputs, **options):
        block = tf.compat.v1.get_variable_scope().name.split("/")[1]
        trained = training and block in trained_blocks
        if trained and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return synchronized_batch_norm(inputs, **options)
        return tf_slim.batch_norm(inputs, is_training=trained, **options)

    # No variables_collections and no updates_collections=None here: either sends tf_slim down a path that calls
    # what TensorFlow no longer has.
    with tf_slim.arg_scope(
        [tf_slim.conv2d],
        activation_fn=tf.nn.relu,
        normalizer_fn=None if folded else batch_norm,
        normalizer_params=None if folded else {"decay": decay, "epsilon": BATCH_NORM_EPSILON},
    ) as scope:
        return scope


def synchronized_batch_norm(inputs, decay, epsilon):
    """TF-Slim's batch norm of a training step, with the statistics of the whole batch where replicas share it.

    Args:
      inputs: float32 [N, H, W, C], a replica's part of the batch.
      decay, epsilon: as for tf_slim.batch_norm.
    Returns:
      float32 [N, H, W, C].
    """
    with tf.compat.v1.variable_scope("BatchNorm") as scope:
        beta = _statistic("beta", inputs, trainable=True)
        moving_mean = _statistic("moving_mean", inputs)
        moving_variance = _statistic("moving_variance", inputs, tf.compat.v1.ones_initializer())
    outputs, mean, variance, count = _sync_batch_norm_op(inputs, beta, epsilon, scope.name)
    # The moving variance is an unbiased one, as that of TensorFlow's own kernel.
    for moving, found in ((moving_mean, mean), (moving_variance, variance * count / tf.maximum(count - 1, 1))):
        moving.assign(moving * decay + tf.stop_gradient(found) * (1 - decay))
    return outputs


def _sync_batch_norm_op(inputs, beta, epsilon, name):
    """(normalised inputs, mean, variance, count), the last three of the whole batch.

    Ioffe & Szegedy, arXiv:1502.03167. By TensorFlow's kernels for one replica, since a batch norm in elementary
    operations passes so often over memory that a step takes twice as long.

    Args:
      name: of this batch norm, see collectives.all_reduce_in_step.
    """
    ones = tf.ones_like(beta)
    kernel = functools.partial(tf.raw_ops.FusedBatchNormV3, epsilon=epsilon)

    @tf.custom_gradient
    def normalize(inputs, beta):
        own = kernel(x=inputs, scale=ones, offset=beta, mean=[], variance=[], is_training=True)
        rows = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        # What the kernel answers is unbiased.
        squares = own.batch_variance * (rows - 1) + own.batch_mean**2 * rows
        sums = collectives.all_reduce_in_step(tf.concat([own.batch_mean * rows, squares, [rows]], 0), name)
        count = sums[-1]
        mean, square = tf.split(sums[:-1] / count, 2)
        variance = tf.maximum(square - mean * mean, 0)
        outputs = kernel(x=inputs, scale=ones, offset=beta, mean=mean, variance=variance, is_training=False).y

        def gradient(of_outputs, *_):
            # As if mean and variance were given; what comes through them is a straight line over the inputs.
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

    # A variable itself would have to be passed on to a gradient of its own.
    return normalize(inputs, tf.identity(beta))


def _statistic(name, inputs, initializer=None, trainable=False):
    return tf.compat.v1.get_variable(
        name,
        [inputs.shape[-1]],
        initializer=initializer or tf.compat.v1.zeros_initializer(),
        trainable=trainable,
        **({} if trainable else collectives.REPLICA_LOCAL),
    )


def logits_from_features(features, weights, biases, keep=1.0, seed=None):
    """The last layer, on pooled features.

    Args:
      features: float32 [N, F], the globally pooled activations of Mixed_7c.
      weights: float32 [1, 1, F, C], TF-Slim's 1x1 convolution.
      biases: float32 [C].
      keep: share of the features that dropout keeps, 1 outside training.
      seed: int [2], of the stateless dropout, so that a resumed run drops what an unbroken one drops.
    Returns:
      logits, float32 [N, C].
    """
    if keep < 1:
        features = _dropout(features, keep, seed)
    return tf.matmul(features, weights[0, 0]) + biases


def _dropout(features, keep, seed):
    """Dropout of the whole batch, of which a replica takes its rows: so many replicas drop what one would."""
    replica, count = tf.distribute.get_replica_context(), tf.distribute.get_strategy().num_replicas_in_sync
    if replica is None or count == 1:
        return tf.nn.experimental.stateless_dropout(features, rate=1 - keep, seed=seed)
    rows, width = tf.shape(features)[0], features.shape[-1]
    whole = tf.nn.experimental.stateless_dropout(tf.ones([rows * count, width]), rate=1 - keep, seed=seed)
    return features * tf.slice(whole, [rows * replica.replica_id_in_sync_group, 0], [rows, width])


def fold_batch_norm(arrays):
    """Put each batch norm into the convolution before it.

    With moving mean m, variance v and offset b, conv(x, W) normalised equals conv(x, W s) + (b - m s) for
    s = 1 / sqrt(v + epsilon); TF-Slim's Inception has no scale of its own.

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
