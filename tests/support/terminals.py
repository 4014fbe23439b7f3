"""Runs a command in a pseudo-terminal and emulates the terminal, to test what people see."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pyte

from tests.support import waiting


class Screen(pyte.Screen):
    """A screen as high as the whole output.

    Attributes:
      wrapped: how often the terminal itself continued a text on the next line.
    """

    def __init__(self, columns, lines=2000):
        self.wrapped, self._drawing = 0, False
        super().__init__(columns, lines)

    def draw(self, data):
        self._drawing = True
        super().draw(data)
        self._drawing = False

    def linefeed(self):
        self.wrapped += self._drawing
        super().linefeed()

    def text(self):
        """Return the lines that are shown, without spaces at their ends."""
        return "\n".join(line.rstrip() for line in self.display).rstrip("\n").split("\n")


class Recording:
    """What a command showed.

    Attributes:
      raw: bytes of the output.
      screen: Screen after it.
      code: exit code.
      first: seconds from the start to the first output.
      seconds: of the whole run.
    """

    def __init__(self):
        self.raw, self.screen = b"", None
        self.first = self.code = self.seconds = None

    @property
    def lines(self):
        return self.screen.text()

    @property
    def cursor_visible(self):
        return not self.screen.cursor.hidden


def record(command, columns=80, stop_at=None, signal_number=signal.SIGINT, **options):
    """Run a command in a pseudo-terminal of 24 lines; return its Recording.

    Args:
      stop_at: bytes after which `signal_number` is sent to the process, as Ctrl-C does.
      options: of subprocess.Popen.
    """
    found = Recording()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**(options.pop("env", None) or os.environ), "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, **options
    )
    os.close(slave)
    try:
        while block := _read(master, began + waiting.LIMIT):
            found.first = found.first or time.monotonic() - began
            found.raw += block
            if stop_at is not None and stop_at in found.raw:
                process.send_signal(signal_number)
                stop_at = None
        found.code = process.wait(waiting.LIMIT)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    found.seconds = time.monotonic() - began
    found.screen = emulate(found.raw, columns)
    return found


def emulate(content, columns=80):
    """Return the Screen after the bytes of an output."""
    screen = Screen(columns)
    # The emulation does not know hyperlinks (OSC 8).
    pyte.ByteStream(screen).feed(re.sub(rb"\x1b\]8;.*?(?:\x1b\\|\x07)", b"", content))
    return screen


def _read(master, deadline):
    ready, _, _ = select.select([master], [], [], max(0, deadline - time.monotonic()))
    # At the end of a pseudo-terminal Linux reports an error.
    with contextlib.suppress(OSError):
        return os.read(master, 1 << 16) if ready else b""
    return b""
