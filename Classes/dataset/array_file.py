"""Arrays of one shape in an unnamed temporary file, so that a large data set does not have to fit into memory."""

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Any, Protocol

import numpy


class Arrays(Protocol):
    """Arrays of one shape: a list, an array, an ArrayFile or some of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class ArrayFile:
    """A growing list of arrays of one shape and type; the file disappears with the object.

    It is read by calls and not mapped, because mapped pages count as memory of the process.

    Args:
      shape, kind: of each array.
    """

    def __init__(self, shape: tuple[int, ...], kind: str | numpy.dtype = "float16") -> None:
        self.shape, self.kind = shape, numpy.dtype(kind)
        self._bytes = int(numpy.prod(shape)) * self.kind.itemsize
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the object
        self._count, self._written = 0, True
        weakref.finalize(self, _close, self._file)

    def append(self, arrays: numpy.ndarray) -> None:
        """Add arrays, [N, *shape].

        Raises:
          OSError: the disk is full; it names the folder of temporary files.
        """
        content = numpy.ascontiguousarray(arrays, self.kind).tobytes()
        with _naming_folder():
            self._file.write(content)
        self._written = False
        self._count += len(content) // self._bytes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any, /) -> numpy.ndarray:
        """Return one array, or the arrays of a slice without a step as [N, *shape]."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(self._count)
            return self._read(start, max(stop - start, 0))
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._read(index, 1)[0]

    def take(self, indices: numpy.ndarray) -> numpy.ndarray:
        """Return the arrays with some indices, int [N], as [N, *shape]."""
        self._flush()
        content, number, size = bytearray(len(indices) * self._bytes), self._file.fileno(), self._bytes
        view = memoryview(content)
        for place, index in enumerate(indices.tolist()):
            os.preadv(number, [view[place * size : (place + 1) * size]], index * size)
        return numpy.frombuffer(content, self.kind).reshape(len(indices), *self.shape)

    def _flush(self) -> None:
        if not self._written:
            with _naming_folder():
                self._file.flush()
            self._written = True

    def _read(self, start: int, count: int) -> numpy.ndarray:
        self._flush()
        content = os.pread(self._file.fileno(), count * self._bytes, start * self._bytes)
        return numpy.frombuffer(content, self.kind).reshape(count, *self.shape)


@contextlib.contextmanager
def _naming_folder() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # The file has no name, so the message would name none, or another file.
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error


def _close(file: IO[bytes]) -> None:
    # On a full disk, what is not written yet cannot be written now either; the run has reported it.
    with contextlib.suppress(OSError):
        file.close()
