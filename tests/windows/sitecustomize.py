"""What Python lacks on Windows: in front on PYTHONPATH, an interpreter comes up without it."""

import os
import pathlib
import signal
import socket
import sys

for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "_posixshmem"):
    sys.modules[name] = None
MISSING = {
    signal: "SIGALRM SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGPIPE ITIMER_REAL alarm setitimer pthread_sigmask sigwait",
    os: "fork forkpty getuid geteuid getgid getpgid setsid killpg mkfifo sched_getaffinity sysconf "
    "register_at_fork O_DIRECTORY O_NONBLOCK O_CLOEXEC O_NOCTTY getloadavg nice wait",
    socket: "AF_UNIX",
}
for module, names in MISSING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

_open = os.open


def _refuse_folders(path, *rest, **named):
    if isinstance(path, (str, os.PathLike)) and pathlib.Path(path).is_dir():
        raise PermissionError(13, "Permission denied", os.fspath(path))
    return _open(path, *rest, **named)


os.open = _refuse_folders
