"""Mixed precision (Micikevicius et al., arXiv:1710.03740): short numbers in a step's arithmetic, float32 weights.

TensorFlow rewrites the graph of a step: convolutions and products become short, sums and logarithms stay as they are.
"""

import contextlib

import numpy
import tensorflow as tf
import tf_keras

from Classes.common.errors import ConfigurationError
from Classes.inference import openvino_backend
from Classes.training import distributed

# TensorFlow's rewriting for GPUs knows f16 alone, that for processors bf16 alone.
GRAPH_REWRITES = {"bf16": "auto_mixed_precision_onednn_bfloat16", "f16": "auto_mixed_precision"}
DESCRIPTIONS = {"f32": "float32", **{kind: f"{kind} where it is safe, float32 elsewhere" for kind in GRAPH_REWRITES}}

# The first GPUs whose f16 is faster; TensorFlow rewrites nothing for older ones.
COMPUTE_CAPABILITY = (7, 0)

# What a loss scale's variables begin with: itself, and the steps since it changed.
INITIAL_STATE = {"loss_scale": numpy.float32(2**15), "loss_scale_steps": numpy.int64(0)}


def resolve_precision(wanted, strategy):
    """The arithmetic of the training.

    Args:
      wanted: `TrainingPrecision`; AUTO: f16 on GPUs that gain by it, bf16 on processors that have it, else f32.
      strategy: tf.distribute.Strategy; all its workers must ask.
    Returns:
      "f32", "bf16" or "f16".
    Raises:
      ConfigurationError: what is wanted is not for this machine's GPU, or for none.
      EngineError: the processor does not have what is wanted.
    """
    kind = _resolve_local(wanted)
    (scaling,) = distributed.all_reduce_sum(strategy, [numpy.float32(kind == "f16")])
    # Gradients of f16 are skipped where they overflow, which all workers have to do alike.
    return "f32" if kind == "f16" and scaling < distributed.rank_and_world_size(strategy)[1] else kind


def _resolve_local(wanted):
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        if wanted == "f16":
            raise ConfigurationError("TrainingPrecision is f16 and TensorFlow sees no GPU; take AUTO, bf16 or f32")
        return openvino_backend.cpu_precision(wanted)
    able = all(_compute_capability(gpu) >= COMPUTE_CAPABILITY for gpu in gpus)
    if wanted == "bf16" or (wanted == "f16" and not able):
        why = "which TensorFlow has for processors alone" if wanted == "bf16" else "for which the GPU is too old"
        raise ConfigurationError(f"TrainingPrecision is {wanted}, {why}; take AUTO or f32")
    return "f16" if able and wanted != "f32" else "f32"


def _compute_capability(gpu):
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


@contextlib.contextmanager
def graph_rewrite_scope(kind):
    """A context in which steps are traced in the arithmetic that `chosen` named; what follows is float32 again."""
    options = {option: name == kind for name, option in GRAPH_REWRITES.items()}
    tf.config.optimizer.set_experimental_options(options)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options(dict.fromkeys(options, False))


class LossScale:
    """Keeps small gradients above f16's smallest number: the loss is multiplied, the gradients are divided again.

    A step whose gradients overflow all the same is skipped, and the factor halved; after 2,000 steps without, doubled.

    Args:
      optimizer: Keras's, in its older form.
    """

    def __init__(self, optimizer):
        self._optimizer = tf_keras.mixed_precision.LossScaleOptimizer(
            optimizer, initial_scale=INITIAL_STATE["loss_scale"]
        )
        self.apply_gradients = self._optimizer.apply_gradients

    def gradients(self, tape, loss, variables):
        """The tape's gradients, computed on the multiplied loss."""
        factor = self._optimizer.get_scaled_loss(tf.ones_like(loss))
        return self._optimizer.get_unscaled_gradients(tape.gradient(loss, variables, output_gradients=factor))

    def variables(self):
        """{name in a checkpoint: tf.Variable}."""
        state = self._optimizer._loss_scale  # its variables have no public way
        return dict(zip(INITIAL_STATE, (state.current_loss_scale, state.counter), strict=True))
