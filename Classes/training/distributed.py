"""Distributed training: one process, several GPUs of one machine, or several machines.

Every worker runs the same command and reads its index and the addresses of the others from TF_CONFIG or from the
variables of the job scheduler. Each replica computes a part of every batch; gradients and batch-norm statistics are
summed over all replicas, so that the result is the same as on one machine with the whole batch.
"""

import contextlib
import json
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from Classes.common.errors import CheckpointError, ConfigurationError, TrainingError, system_reason
from Classes.common.paths import PROJECT
from Classes.common.translation import Message

# Port of workers that a job scheduler starts; it provides their hosts, but no ports.
DEFAULT_PORT = 12358

# Seconds without a heartbeat after which a worker counts as lost.
HEARTBEAT_SECONDS = 30

# Errors that the loss of another worker cannot cause: a full disk, too little memory, a damaged or missing file, a bug.
LOCAL_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
)

log = logging.getLogger("Trainer")


def open_strategy(environment: Mapping[str, str] = os.environ) -> tf.distribute.Strategy:
    """Open the strategy for the GPUs and workers there are. Call it before TensorFlow computes anything.

    Raises:
      ConfigurationError: the environment variables are not valid.
    """
    found = worker_addresses(environment)
    if found is None:
        several = len(tf.config.list_physical_devices("GPU")) > 1
        return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()
    addresses, index = found
    logging.getLogger("tensorflow").addFilter(_filter_tf_logs)
    assign_cores(addresses, index)
    _set_heartbeat(addresses)
    log.info("Worker %d of %d, at %s.", index + 1, len(addresses), addresses[index])
    cluster = tf.train.ClusterSpec({"worker": addresses})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type="worker", task_id=index, rpc_layer="grpc"
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    if index:
        # All workers do the same, so only the chief logs it.
        for name in ("Trainer", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
    return strategy


def worker_addresses(environment: Mapping[str, str]) -> tuple[list[str], int] | None:
    """Return ("host:port" of every worker, index of this one); None if there is only one.

    Raises:
      ConfigurationError: the environment variables are not valid.
    """
    if environment.get("TF_CONFIG"):
        found = _from_tf_config(environment["TF_CONFIG"])
    elif environment.get("SLURM_STEP_NUM_TASKS", "1") != "1" and "SLURM_STEP_NODELIST" in environment:
        found = _from_slurm(environment)
    elif "PBS_NODEFILE" in environment and "PBS_NODENUM" in environment:
        found = _from_pbs(environment)
    else:
        return None
    addresses, index = found
    if not 0 <= index < len(addresses):
        raise ConfigurationError(
            Message(
                "This worker has index {index}, but there are only {count} workers ({addresses}). Correct TF_CONFIG.",
                index=index,
                count=len(addresses),
                addresses=", ".join(addresses),
            ),
            code="worker_index",
        )
    return found if len(addresses) > 1 else None


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes."""
    return strategy.cluster_resolver is None or strategy.cluster_resolver.task_id == 0


def rank_and_world_size(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return (index of this process, number of processes)."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    return resolver.task_id, len(resolver.cluster_spec().task_indices("worker"))


def local_rows(strategy: tf.distribute.Strategy, batch: int) -> tuple[int, int]:
    """Return (start, stop) of the rows of a batch that belong to this process.

    Raises:
      ConfigurationError: the batch cannot be divided evenly.
    """
    if batch % strategy.num_replicas_in_sync:
        raise ConfigurationError(
            Message(
                "BatchSize is {batch}, which {workers} workers cannot divide evenly. Use a multiple of {workers}.",
                batch=batch,
                workers=strategy.num_replicas_in_sync,
            ),
            code="batch_size",
        )
    index, count = rank_and_world_size(strategy)
    return index * batch // count, (index + 1) * batch // count


def shard_batch(strategy: tf.distribute.Strategy, batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """Divide a process's rows of a batch among its replicas, as `strategy.run` needs them."""
    if strategy.num_replicas_in_sync == 1:
        return batch
    index, count = rank_and_world_size(strategy)
    local_replicas = strategy.num_replicas_in_sync // count

    def divide(values: Any) -> Any:
        """Give each replica of this process its part of the rows."""
        size = len(values) // local_replicas

        def part(replica: Any) -> Any:
            number = replica.replica_id_in_sync_group - index * local_replicas
            return values[number * size : (number + 1) * size]

        return strategy.experimental_distribute_values_from_function(part)

    inputs, labels = batch
    return divide(inputs), divide(labels)


def all_reduce_sum(strategy: tf.distribute.Strategy, arrays: Sequence[Any]) -> Sequence[Any]:
    """Sum numpy arrays over all workers; every worker must call it with arrays of the same shapes and dtypes."""
    index, count = rank_and_world_size(strategy)
    if count == 1:
        return arrays
    first = index * strategy.num_replicas_in_sync // count

    def distribute(values: Any) -> Any:
        """Give the values to one replica and zeros to the others."""
        # Only the first replica of a process contributes its values.
        return strategy.experimental_distribute_values_from_function(
            lambda replica: tf.constant(
                values if replica.replica_id_in_sync_group == first else numpy.zeros_like(values)
            )
        )

    sums = _sum(strategy, [distribute(values) for values in arrays])
    return [strategy.experimental_local_results(each)[0].numpy() for each in sums]


def local_value(variable: Any) -> Any:
    """Return a variable's copy in this process; reading the distributed variable would wait for all workers."""
    return getattr(variable, "values", (variable,))[0]


def broadcast(strategy: tf.distribute.Strategy, arrays: Sequence[numpy.ndarray]) -> Sequence[numpy.ndarray]:
    """Return the chief's arrays on every worker; of the others' arrays only shapes and dtypes count."""
    if is_chief(strategy):
        return all_reduce_sum(strategy, arrays)
    return all_reduce_sum(strategy, [numpy.zeros_like(each) for each in arrays])


@contextlib.contextmanager
def translate_peer_failure(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn TensorFlow's errors about the loss of another worker into a TrainingError of one line."""
    try:
        yield
    except (tf.errors.OpError, CheckpointError) as error:
        cause = error if isinstance(error, tf.errors.OpError) else error.__cause__
        if (
            rank_and_world_size(strategy)[1] == 1
            or not isinstance(cause, tf.errors.OpError)
            or isinstance(cause, LOCAL_ERRORS)
        ):
            raise
        log.debug("%s", cause.message)
        raise TrainingError(
            Message(
                "another worker has ended, or cannot be reached any more ({kind}). Start all workers again; "
                "they continue at the last checkpoint.",
                kind=type(cause).__name__,
            ),
            code="worker_lost",
        ) from error


def assign_cores(addresses: Sequence[str], index: int) -> None:
    """Give each worker on one machine its own cores; with shared cores a step takes a sixth longer."""
    hosts = [address.rpartition(":")[0] for address in addresses]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    per_worker = len(cores) // hosts.count(hosts[index])
    # If the process may not use all cores, the job scheduler has already divided them.
    if per_worker and len(cores) == os.cpu_count():
        first = per_worker * hosts[:index].count(hosts[index])
        os.sched_setaffinity(0, cores[first : first + per_worker])


def _set_heartbeat(addresses: Sequence[str]) -> None:
    """Set the heartbeat timeout; the default of ten seconds is too short for a machine under load."""
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=len(addresses))],
        heartbeat_timeout_in_ms=1000 * HEARTBEAT_SECONDS,
    )


def _filter_tf_logs(record: logging.LogRecord) -> bool:
    """Drop TensorFlow's line per all-reduce; it uses the same logger as the step lines of the training loop."""
    return record.levelno >= logging.WARNING or record.pathname.startswith(str(PROJECT))


def _sum(strategy: tf.distribute.Strategy, parts: list[Any]) -> Any:
    def add(*arguments: tf.Tensor) -> list[tf.Tensor]:
        """Sum over the replicas, all tensors of a dtype at once."""
        replica = tf.distribute.get_replica_context()
        # Copies, because an argument may be on another device than the replica.
        values = [tf.identity(each) for each in arguments]
        for dtype in sorted({each.dtype for each in values}, key=str):
            places = [place for place, each in enumerate(values) if each.dtype == dtype]
            sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, [values[place] for place in places])
            for place, each in zip(places, sums, strict=True):
                values[place] = each
        return values

    return tf.function(lambda: strategy.run(add, args=tuple(parts)), autograph=False)()


def _from_tf_config(text: str) -> tuple[list[str], int]:
    try:
        values = json.loads(text)
        cluster, task = values["cluster"], values["task"]
        # A chief is the first of the workers.
        chiefs, kind = list(cluster.get("chief", [])), task.get("type", "worker")
        if kind not in ("chief", "worker"):
            raise ValueError(kind)
        return chiefs + list(cluster["worker"]), int(task["index"]) + (len(chiefs) if kind == "worker" else 0)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ConfigurationError(
            Message(
                "TF_CONFIG is not valid: {text}. It must contain cluster.worker, a list of host:port, and "
                "task.index; task.type must be chief or worker.",
                text=text[:200],
            ),
            code="tf_config",
        ) from error


def _from_slurm(environment: Mapping[str, str]) -> tuple[list[str], int]:
    """Read the variables that srun sets for every task; it fills one node after the other with tasks."""
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        # A large number, so that the resolver never looks for GPUs; TensorFlow finds them itself.
        port_base=DEFAULT_PORT,
        gpus_per_node=1024,
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    return resolver.cluster_spec().as_dict()["worker"], int(environment["SLURM_PROCID"])


def _from_pbs(environment: Mapping[str, str]) -> tuple[list[str], int]:
    """Read the variables that `pbsdsh -u` sets; it starts one task per host, in the order of the node file."""
    path = pathlib.Path(environment["PBS_NODEFILE"])
    try:
        hosts = list(dict.fromkeys(path.read_text().split()))
    except OSError as error:
        raise ConfigurationError(
            Message(
                "{path}: cannot be read ({reason}). PBS_NODEFILE must name the file of the job's hosts.",
                path=path,
                reason=system_reason(error),
            ),
            code="pbs_nodefile",
        ) from error
    return [f"{host}:{DEFAULT_PORT}" for host in hosts], int(environment["PBS_NODENUM"])
