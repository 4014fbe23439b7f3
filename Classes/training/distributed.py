"""Where a network is trained: one processor, the graphics processors of a machine, or several machines at once.

Every worker runs the same command. Which one it is, and where the others are, is taken from TF_CONFIG or from the
queue's own variables. The batch is shared out, gradients and batch-norm statistics are summed over all, so that the
result is that of one machine with the whole batch.
"""

import contextlib
import json
import logging
import os
import pathlib

import numpy
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from Classes.common.errors import CheckpointError, ConfigurationError, TrainingError
from Classes.common.paths import PROJECT

# Where workers that a queue starts listen; it tells their hosts, not their ports.
DEFAULT_PORT = 12358

# Seconds of silence after which a worker counts as lost.
HEARTBEAT_SECONDS = 30

# What no worker's end brings about: a full disk, too little memory, a damaged or missing file, a defect here.
LOCAL_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
)

log = logging.getLogger("Trainer")


def open_strategy(environment=os.environ):
    """The strategy for what there is; has to come before anything else that TensorFlow computes.

    Args:
      environment: variables as in os.environ.
    Returns:
      tf.distribute.Strategy.
    Raises:
      ConfigurationError: the variables do not make sense.
    """
    found = worker_addresses(environment)
    if found is None:
        return (
            tf.distribute.MirroredStrategy()
            if len(tf.config.list_physical_devices("GPU")) > 1
            else _single_process_strategy()
        )
    addresses, index = found
    logging.getLogger("tensorflow").addFilter(_filter_tf_logs)
    _share_cores(addresses, index)
    _set_heartbeat(addresses)
    log.info("Worker %d of %d, at %s.", index + 1, len(addresses), addresses[index])
    cluster = tf.train.ClusterSpec({"worker": addresses})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type="worker", task_id=index, rpc_layer="grpc"
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    if index:
        # The chief tells what they all do.
        for name in ("Trainer", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
    return strategy


def worker_addresses(environment):
    """(["host:port" of every worker], index of this one); None where there are no others.

    Raises:
      ConfigurationError: the variables do not make sense.
    """
    if environment.get("TF_CONFIG"):
        found = _from_configuration(environment["TF_CONFIG"])
    elif environment.get("SLURM_STEP_NUM_TASKS", "1") != "1" and "SLURM_STEP_NODELIST" in environment:
        found = _from_slurm(environment)
    elif "PBS_NODEFILE" in environment and "PBS_NODENUM" in environment:
        found = _from_pbs(environment)
    else:
        return None
    addresses, index = found
    if not 0 <= index < len(addresses):
        raise ConfigurationError(f"this is worker {index} of {len(addresses)} ({', '.join(addresses)}); see TF_CONFIG")
    return found if len(addresses) > 1 else None


def is_chief(strategy):
    """Whether this process is the one that writes."""
    return strategy.cluster_resolver is None or strategy.cluster_resolver.task_id == 0


def rank_and_world_size(strategy):
    """(index of this process, number of processes)."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    return resolver.task_id, len(resolver.cluster_spec().task_indices("worker"))


def local_rows(strategy, batch):
    """(first, behind the last) row of a batch that are this process's.

    Raises:
      ConfigurationError: the batch cannot be shared out evenly.
    """
    if batch % strategy.num_replicas_in_sync:
        raise ConfigurationError(
            f"BatchSize {batch} cannot be shared evenly by {strategy.num_replicas_in_sync} workers; choose a multiple"
        )
    index, count = rank_and_world_size(strategy)
    return index * batch // count, (index + 1) * batch // count


def shard_batch(strategy, batch):
    """A process's rows, one part for each of its replicas, as `strategy.run` takes them."""
    if strategy.num_replicas_in_sync == 1:
        return batch
    index, count = rank_and_world_size(strategy)
    here = strategy.num_replicas_in_sync // count

    def part(replica, values):
        size = len(values) // here
        number = replica.replica_id_in_sync_group - index * here
        return values[number * size : (number + 1) * size]

    return tuple(
        strategy.experimental_distribute_values_from_function(lambda replica, values=values: part(replica, values))
        for values in batch
    )


def all_reduce_sum(strategy, arrays):
    """Sums over all workers; each must call it with as many arrays of the same shapes.

    Args:
      strategy: tf.distribute.Strategy.
      arrays: list of numpy arrays.
    Returns:
      list of numpy arrays.
    """
    if rank_and_world_size(strategy)[1] == 1:
        return arrays
    first = rank_and_world_size(strategy)[0] * strategy.num_replicas_in_sync // rank_and_world_size(strategy)[1]
    # One replica speaks for its process.
    parts = [
        strategy.experimental_distribute_values_from_function(
            lambda replica, values=values: tf.constant(
                values if replica.replica_id_in_sync_group == first else numpy.zeros_like(values)
            )
        )
        for values in arrays
    ]
    found = _sum(strategy, parts)
    return [strategy.experimental_local_results(each)[0].numpy() for each in found]


def local_value(variable):
    """A variable on this process alone: to ask for that of all replicas is a sum that the others take no part in."""
    return getattr(variable, "values", (variable,))[0]


def broadcast(strategy, arrays):
    """The chief's arrays, on every worker; for what the others give only shapes and types count."""
    if is_chief(strategy):
        return all_reduce_sum(strategy, arrays)
    return all_reduce_sum(strategy, [numpy.zeros_like(each) for each in arrays])


@contextlib.contextmanager
def translate_peer_failure(strategy):
    """Turns the end of another worker into one line, whatever was being done when it came out."""
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
            f"another worker has ended, or cannot be reached any more ({type(cause).__name__}); start all of them "
            "again, they go on at the last checkpoint"
        ) from error


def _share_cores(addresses, index):
    """Workers on one machine take a part of its cores each; in each other's way a step takes a sixth longer."""
    hosts = [address.rpartition(":")[0] for address in addresses]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = len(cores) // hosts.count(hosts[index])
    # Fewer than all were given by the queue, which has done it then.
    if share and len(cores) == os.cpu_count():
        first = share * hosts[:index].count(hosts[index])
        os.sched_setaffinity(0, cores[first : first + share])


def _set_heartbeat(addresses):
    """Take a worker for lost after HEARTBEAT seconds: on a loaded machine it may be silent for ten, the default."""
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=len(addresses))],
        heartbeat_timeout_in_ms=1000 * HEARTBEAT_SECONDS,
    )


def _filter_tf_logs(record):
    """TensorFlow tells of each of its sums under the name that our own step lines have."""
    return record.levelno >= logging.WARNING or record.pathname.startswith(str(PROJECT))


def _single_process_strategy():
    return tf.distribute.get_strategy()


def _sum(strategy, parts):
    def add(*values):
        replica = tf.distribute.get_replica_context()
        # The copies stand on the replica's device, which an argument does not.
        values = [tf.identity(each) for each in values]
        for kind in sorted({each.dtype for each in values}, key=str):
            places = [place for place, each in enumerate(values) if each.dtype == kind]
            found = replica.all_reduce(tf.distribute.ReduceOp.SUM, [values[place] for place in places])
            for place, each in zip(places, found, strict=True):
                values[place] = each
        return values

    return tf.function(lambda: strategy.run(add, args=tuple(parts)), autograph=False)()


def _from_configuration(text):
    try:
        values = json.loads(text)
        cluster, task = values["cluster"], values["task"]
        # A chief, where one is named, is the first of the workers.
        chiefs, kind = list(cluster.get("chief", [])), task.get("type", "worker")
        if kind not in ("chief", "worker"):
            raise ValueError(kind)
        return chiefs + list(cluster["worker"]), int(task["index"]) + (len(chiefs) if kind == "worker" else 0)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ConfigurationError(
            f"TF_CONFIG is {text[:200]}; it has to name cluster.worker, a list of host:port, and task.index, with "
            "task.type chief or worker"
        ) from error


def _from_slurm(environment):
    """srun tells every task of a step its number and the nodes; tasks are dealt out block by block."""
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        # So many that it never asks about graphics processors: TensorFlow finds those itself.
        port_base=DEFAULT_PORT,
        gpus_per_node=1024,
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    return resolver.cluster_spec().as_dict()["worker"], int(environment["SLURM_PROCID"])


def _from_pbs(environment):
    """pbsdsh -u starts one task a host and numbers them in the order of the file of hosts."""
    path = pathlib.Path(environment["PBS_NODEFILE"])
    try:
        hosts = list(dict.fromkeys(path.read_text().split()))
    except OSError as error:
        raise ConfigurationError(f"PBS_NODEFILE {path}: {error.strerror}") from error
    return [f"{host}:{DEFAULT_PORT}" for host in hosts], int(environment["PBS_NODENUM"])
