"""TF-Slim's Inception V3: as a module to train, and as an inference graph."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import tensorflow as tf
from tf_keras.src.legacy_tf_layers.variable_scope_shim import track_tf1_style_variables
from tf_slim.nets import inception

from Classes import inception_utils

# The auxiliary head pools 5x5 activations of Mixed_6e; smaller images have fewer.
MIN_SIZE_FOR_AUX_HEAD = 107


class InceptionV3(tf.Module):
    """The network to train; the first call creates its variables.

    Args:
      classes: number of outputs.
      depth_multiplier: width of every layer relative to the published network.
      trained_blocks: names from inception_utils.BLOCKS that are trained.
      auxiliary: whether a training step builds the auxiliary head; this needs Mixed_6e or a block before it.
      decay: of the batch-norm moving averages.
      keep: fraction of the features that dropout keeps in a training step.
    """

    def __init__(
        self,
        classes: int,
        depth_multiplier: float = 1.0,
        trained_blocks: Sequence[str] = (),
        auxiliary: bool = False,
        decay: float = 0.9997,
        keep: float = 1.0,
    ) -> None:
        super().__init__()
        self._classes = classes
        self._depth_multiplier = depth_multiplier
        self._trained_blocks = trained_blocks
        self._auxiliary = auxiliary
        self._decay = decay
        self._keep = keep

    @track_tf1_style_variables
    def __call__(
        self, images: tf.Tensor, training: bool = False, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Compute the logits of a batch.

        Args:
          images: float32 [N, S, S, 3], from network_input.normalize.
          training: use batch statistics in the trained blocks, dropout and the auxiliary head.
          seed: int [2], of the dropout.
        Returns:
          (logits float32 [N, C], auxiliary logits float32 [N, C] or None).
        """
        scope = inception_utils.arg_scope(training, self._trained_blocks, self._decay)
        with inception_utils.tf_slim.arg_scope(scope):
            # No dropout by Slim: it depends on the steps that this process has run, and would differ after a resume.
            logits, end_points = inception.inception_v3(
                images,
                self._classes,
                is_training=False,
                dropout_keep_prob=1.0,
                depth_multiplier=self._depth_multiplier,
                create_aux_logits=training and self._auxiliary,
            )
        if not training:
            return logits, None
        with tf.compat.v1.variable_scope(inception_utils.LOGITS_LAYER, reuse=True):
            weights = tf.compat.v1.get_variable("weights")
            biases = tf.compat.v1.get_variable("biases")
        features = tf.squeeze(end_points["PreLogits"], [1, 2])
        logits = inception_utils.logits_from_features(features, weights, biases, self._keep, seed)
        return logits, end_points.get("AuxLogits")

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return the variables by TF-Slim name."""
        return {variable.name.split(":")[0]: variable for variable in self.variables}


@functools.cache
def variable_shapes(
    classes: int, size: int, depth_multiplier: float = 1.0, auxiliary: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every variable, in the order in which TF-Slim creates them.

    Args:
      classes: number of outputs.
      size: side of the square input in pixels.
      depth_multiplier: width of every layer relative to the published network.
      auxiliary: include the auxiliary head.
    Returns:
      {TF-Slim name: shape}, 378 entries without the auxiliary head.
    """
    shapes = {}

    def getter(_: Any, name: str, shape: Any = None, **options: Any) -> tf.Tensor:
        shapes[name] = tuple(tf.TensorShape(shape).as_list())
        return tf.zeros(shape, name=name)

    _build_graph(getter, classes, size, depth_multiplier, folded=False, auxiliary=auxiliary)
    return shapes


def inference_graph(
    arrays: Mapping[str, numpy.ndarray], size: int, depth_multiplier: float = 1.0, folded: bool = True
) -> tf.Graph:
    """Build the network for one image as a TensorFlow 1 graph that contains its values.

    Args:
      arrays: {TF-Slim name: float32 array} of `inception_utils.fold_batch_norm` if `folded`, else of a checkpoint.
      size: side of the square input in pixels.
      depth_multiplier: as in training.
      folded: whether the batch norms are folded.
    Returns:
      tf.Graph with placeholder `input` [1, size, size, 3] and output `InceptionV3/Predictions/Softmax`.
    """
    classes = arrays[f"{inception_utils.LOGITS_LAYER}/biases"].shape[0]

    # Constants replace the variables, so that nothing has to be restored or converted.
    def getter(_: Any, name: str, **options: Any) -> tf.Tensor:
        return tf.constant(arrays[name], name=name)

    return _build_graph(getter, classes, size, depth_multiplier, folded)


def _build_graph(
    getter: Callable[..., tf.Tensor],
    classes: int,
    size: int,
    depth_multiplier: float,
    folded: bool,
    auxiliary: bool = False,
) -> tf.Graph:
    """Build the inference network; `getter` creates its variables."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.variable_scope("", custom_getter=getter, use_resource=False):
        placeholder = tf.compat.v1.placeholder(tf.float32, [1, size, size, 3], name="input")
        with inception_utils.tf_slim.arg_scope(inception_utils.arg_scope(folded=folded)):
            inception.inception_v3(
                placeholder,
                classes,
                is_training=False,
                dropout_keep_prob=1.0,
                depth_multiplier=depth_multiplier,
                create_aux_logits=auxiliary,
            )
    return graph
