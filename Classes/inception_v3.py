"""TF-Slim's Inception V3: as a module that trains, and as a graph that answers."""

import functools

import tensorflow as tf
from tf_keras.src.legacy_tf_layers.variable_scope_shim import track_tf1_style_variables
from tf_slim.nets import inception

from Classes import inception_utils

# Smaller images leave less than the 5x5 activations of Mixed_6e that the auxiliary head pools.
MIN_SIZE_FOR_AUX_HEAD = 107


class InceptionV3(tf.Module):
    """The network under its TF-Slim variable names, created at the first call.

    Args:
      classes: number of outputs.
      depth_multiplier: width of every layer against the published network.
      trained_blocks: names from inception_utils.BLOCKS that training changes; with Mixed_6e or a block before it
        among them the auxiliary head can be built.
      auxiliary: whether a training step builds the auxiliary head.
      decay: memory of the batch-norm moving averages.
      keep: share of the features that dropout keeps in a training step.
    """

    def __init__(self, classes, depth_multiplier=1.0, trained_blocks=(), auxiliary=False, decay=0.9997, keep=1.0):
        super().__init__()
        self._classes = classes
        self._depth_multiplier = depth_multiplier
        self._trained_blocks = trained_blocks
        self._auxiliary = auxiliary
        self._decay = decay
        self._keep = keep

    @track_tf1_style_variables
    def __call__(self, images, training=False, seed=None):
        """Logits of a batch.

        Args:
          images: float32 [N, S, S, 3], from network_input.normalize.
          training: batch statistics in the trained blocks, dropout, auxiliary head.
          seed: int [2], of the dropout.
        Returns:
          (logits float32 [N, C], auxiliary logits float32 [N, C] or None).
        """
        scope = inception_utils.arg_scope(training, self._trained_blocks, self._decay)
        with inception_utils.tf_slim.arg_scope(scope):
            # Slim's own dropout would depend on how many steps this process has run; ours on the step's number.
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

    def named_variables(self):
        """{TF-Slim name: tf.Variable}."""
        return {variable.name.split(":")[0]: variable for variable in self.variables}


@functools.cache
def variable_shapes(classes, size, depth_multiplier=1.0, auxiliary=False):
    """Name and shape of every variable, in the order in which TF-Slim creates them.

    Args:
      classes: number of outputs.
      size: side of the square input in pixels.
      depth_multiplier: width of every layer against the published network.
      auxiliary: with the auxiliary head.
    Returns:
      {TF-Slim name: tuple of int}; 378 of them without the auxiliary head.
    """
    found = {}

    def getter(_, name, shape=None, **options):
        found[name] = tuple(tf.TensorShape(shape).as_list())
        return tf.zeros(shape, name=name)

    _build_graph(getter, classes, size, depth_multiplier, folded=False, auxiliary=auxiliary)
    return found


def inference_graph(arrays, size, depth_multiplier=1.0, folded=True):
    """The network that answers one image, as a TensorFlow 1 graph with its values in it.

    Args:
      arrays: {TF-Slim name: float32 array}: `inception_utils.fold_batch_norm`'s where `folded`, else a checkpoint's.
      size: side of the square input in pixels.
      depth_multiplier: as in training.
      folded: without batch norm (what is frozen) or with it (what it is compared with).
    Returns:
      tf.Graph with placeholder `input` [1, size, size, 3] and output `InceptionV3/Predictions/Softmax`.
    """
    classes = arrays[f"{inception_utils.LOGITS_LAYER}/biases"].shape[0]

    # The values themselves stand in the variables' places: nothing has to be restored or converted.
    def getter(_, name, **options):
        return tf.constant(arrays[name], name=name)

    return _build_graph(getter, classes, size, depth_multiplier, folded)


def _build_graph(getter, classes, size, depth_multiplier, folded, auxiliary=False):
    """The inference network as a tf.Graph, its variables answered by `getter`."""
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
