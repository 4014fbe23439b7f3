"""Connect to the scheduler of a Dask cluster, or say what is wrong with its address."""

import asyncio
import json
import logging
import pathlib
import re
import sys
import types
import warnings
from typing import Any

from Classes.common import terminal
from Classes.common.errors import ConfigurationError, EngineError, system_reason
from Classes.common.loading import loading
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.jobs import polling

# Seconds: for a connection; more for its first message, so that the reason of a failed connection arrives before.
CONNECT_TIMEOUT, GREETING = 30.0, 5.0

# Seconds in which a scheduler that has created its file has written it, also on a network file system.
FILE_TIMEOUT = 2.0


def connect(address: str) -> Any:
    """Return a distributed.Client.

    Args:
      address: such as tcp://host:8786 or tls://host:8786, or the path of a scheduler file.
    Raises:
      ConfigurationError: `package_missing`.
      EngineError: `cluster_unreachable`.
    """
    distributed = _import_distributed()
    try:
        scheduler = address if "://" in address else _read_scheduler_file(pathlib.Path(address))
        if not re.fullmatch(r"(tcp|tls)://\S+:\d+", scheduler):
            # A client that fails later than here makes its process wait at the end.
            raise ValueError("expected tcp://host:port")
        arguments = distributed.Security().get_connection_args("client")
        if scheduler.startswith("tls:") and not arguments["ssl_context"]:
            raise ValueError("no certificate is configured")
        terminal.say(_("Connecting to {address}…").format(address=address))
        asyncio.run(_greet(distributed, scheduler, arguments))
        return distributed.Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, MemoryError, asyncio.TimeoutError) as error:
        raise EngineError(
            Message(
                "{address}: no Dask scheduler answers ({reason}). Start one, or set Cluster to its address or "
                "scheduler file; see docs/cluster.md.",
                address=address,
                reason=_reason(error),
            ),
            "cluster_unreachable",
        ) from error


def _import_distributed() -> types.ModuleType:
    """Return the package, which says nothing by itself from now on."""
    try:
        with loading():
            import distributed
    except ImportError as error:
        raise ConfigurationError(
            Message(
                "Cluster needs the package {package} ({error}). Install it with {python} -m pip install -r "
                "Required/requirements-cluster.txt",
                package="distributed",
                error=error,
                python=sys.executable,
            ),
            "package_missing",
        ) from error
    # Its own lines, also of its threads, would come between those of the run, which reports what matters.
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", category=distributed.versions.VersionMismatchWarning)
    return distributed


def _read_scheduler_file(path: pathlib.Path) -> str:
    """Return the address in a scheduler file; Dask itself would wait until the file is there."""
    address = polling.poll(lambda: _parse_scheduler_file(path.read_bytes()), FILE_TIMEOUT)
    if address is None:
        raise ValueError("not a scheduler file")
    return address


def _parse_scheduler_file(content: bytes) -> str | None:
    """Return the address; None if there is none, because the scheduler is still writing the file, for example."""
    try:
        return str(json.loads(content)["address"])
    except (ValueError, LookupError, TypeError):
        return None


async def _greet(distributed: types.ModuleType, scheduler: str, arguments: dict[str, Any]) -> None:
    """Connect once: a Dask client waits forever for a program that accepts connections but is not a scheduler."""
    connecting = distributed.comm.connect(scheduler, timeout=CONNECT_TIMEOUT, **arguments)
    (await asyncio.wait_for(connecting, CONNECT_TIMEOUT + GREETING)).abort()


def _reason(error: BaseException) -> str:
    """Return the operating system's reason, if there is one; what Dask makes of it names sockets and classes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return system_reason(cause)
        cause = cause.__cause__
    return str(error).partition("\n")[0] or Message("no answer")
