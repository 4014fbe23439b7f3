"""Mixed precision (Micikevicius et al., arXiv:1710.03740): a step computes in 16 bits, weights stay in float32.

TensorFlow rewrites the graph of a step: convolutions and products use 16 bits, sums and logarithms float32.
"""

import contextlib
from collections.abc import Iterator

import numpy
import tensorflow as tf
import tf_keras

from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.inference import openvino_devices
from Classes.training import distributed

# TensorFlow's graph rewriter supports only f16 on GPUs and only bf16 on CPUs.
GRAPH_REWRITES = {"bf16": "auto_mixed_precision_onednn_bfloat16", "f16": "auto_mixed_precision"}
DESCRIPTIONS = {"f32": "float32", **{kind: f"{kind} where that is safe, otherwise float32" for kind in GRAPH_REWRITES}}

# The first GPUs on which f16 is faster; TensorFlow rewrites nothing for older ones.
COMPUTE_CAPABILITY = (7, 0)

# Initial values: the loss scale, and the steps since it changed.
INITIAL_STATE = {"loss_scale": numpy.float32(2**15), "loss_scale_steps": numpy.int64(0)}


def resolve_precision(wanted: str, strategy: tf.distribute.Strategy) -> str:
    """Choose the precision of the training steps.

    Args:
      wanted: `TrainingPrecision`. AUTO means f16 on GPUs that are faster with it, bf16 on CPUs that support it, else
        f32.
      strategy: every worker must call this function.
    Returns:
      "f32", "bf16" or "f16".
    Raises:
      ConfigurationError: this machine's GPU does not support the precision, or it has no GPU.
      EngineError: the CPU does not support the precision.
    """
    kind = _resolve_local(wanted)
    (scaling,) = distributed.all_reduce_sum(strategy, [numpy.float32(kind == "f16")])
    # A step whose f16 gradients overflow is skipped, which all workers must do together.
    return "f32" if kind == "f16" and scaling < distributed.rank_and_world_size(strategy)[1] else kind


def _resolve_local(wanted: str) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        if wanted == "f16":
            raise ConfigurationError(
                Message("TrainingPrecision is f16, but TensorFlow finds no GPU. Use AUTO, bf16 or f32."),
                code="training_precision",
            )
        return openvino_devices.cpu_precision(wanted)
    able = all(_compute_capability(gpu) >= COMPUTE_CAPABILITY for gpu in gpus)
    if wanted == "bf16" or (wanted == "f16" and not able):
        if wanted == "bf16":
            message = Message("TrainingPrecision is bf16, which TensorFlow supports only on CPUs. Use AUTO or f32.")
        else:
            message = Message("TrainingPrecision is f16, but the GPU is too old for it. Use AUTO or f32.")
        raise ConfigurationError(message, code="training_precision")
    return "f16" if able and wanted != "f32" else "f32"


def _compute_capability(gpu: tf.config.PhysicalDevice) -> tuple[int, int]:
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


@contextlib.contextmanager
def graph_rewrite_scope(kind: str) -> Iterator[None]:
    """Trace the steps inside this context in the precision `kind`, see `resolve_precision`."""
    options = {option: name == kind for name, option in GRAPH_REWRITES.items()}
    tf.config.optimizer.set_experimental_options(options)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options(dict.fromkeys(options, False))


class LossScale:
    """Keep small gradients representable in f16: multiply the loss by a factor and divide the gradients by it.

    If gradients overflow, the step is skipped and the factor halved; it doubles after 2,000 steps without overflow.

    Args:
      optimizer: a legacy Keras optimizer.
    """

    def __init__(self, optimizer: tf_keras.optimizers.legacy.Optimizer) -> None:
        self._optimizer = tf_keras.mixed_precision.LossScaleOptimizer(
            optimizer, initial_scale=INITIAL_STATE["loss_scale"]
        )
        self.apply_gradients = self._optimizer.apply_gradients

    def gradients(self, tape: tf.GradientTape, loss: tf.Tensor, variables: list[tf.Variable]) -> list[tf.Tensor]:
        """Return the gradients of the loss, computed on the scaled loss."""
        factor = self._optimizer.get_scaled_loss(tf.ones_like(loss))
        return self._optimizer.get_unscaled_gradients(tape.gradient(loss, variables, output_gradients=factor))

    def variables(self) -> dict[str, tf.Variable]:
        """Return the variables by their names in a checkpoint."""
        state = self._optimizer._loss_scale  # there is no public access to its variables
        return dict(zip(INITIAL_STATE, (state.current_loss_scale, state.counter), strict=True))
