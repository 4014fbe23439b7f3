"""Sums over all replicas of a network, within a training step."""

import zlib

import tensorflow as tf

# Options of tf.Variable for a variable that every replica changes by the same amount, so that nothing needs to be sent.
REPLICA_LOCAL = {
    "synchronization": tf.VariableSynchronization.ON_READ,
    "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
}

# The group of all replicas among collective operations; far from the numbers that TensorFlow gives its own.
GROUP_KEY = 990_001


def all_reduce_in_step(values: tf.Tensor, name: str) -> tf.Tensor:
    """Sum values over all replicas, without a gradient.

    Args:
      values: float32, of the same shape on every replica.
      name: identifies this sum: the same on every replica, and used by no other sum. TensorFlow's own reduction numbers
        its sums in the order of the calls, and a tape does not ask for gradients in the same order in two processes.
    Returns:
      float32 of the same shape; outside a replica `values` themselves.
    """
    if tf.distribute.get_replica_context() is None:
        return values
    return tf.raw_ops.CollectiveReduceV2(
        input=values,
        group_size=tf.distribute.get_strategy().num_replicas_in_sync,
        group_key=GROUP_KEY,
        instance_key=zlib.crc32(name.encode()) >> 1,
        # One token per sum. Without it TensorFlow runs all sums one after the other, and two replicas in one process
        # wait for each other forever.
        ordering_token=[tf.raw_ops.VarHandleOp(dtype=values.dtype, shape=[], shared_name=name)],
        merge_op="Add",
        final_op="Id",
        communication_hint="ring",
    )
