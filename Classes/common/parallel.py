"""Run many calls in threads, a few at a time, so that memory use stays flat."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from Classes.common import interrupts

Result = TypeVar("Result")


def map_threads(function: Callable[..., Result], work: Iterable[Iterable[Any]], workers: int) -> Iterator[Result]:
    """Yield the results of `function(*arguments)` in order; what a call raises is raised here.

    Args:
      function: called in several threads.
      work: the arguments of each call, read as they are needed.
      workers: number of threads.
    """
    calls = iter(work)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending = collections.deque(pool.submit(function, *each) for each in itertools.islice(calls, 8 * workers))
        try:
            while pending:
                interrupts.check()
                yield pending.popleft().result()
                pending.extend(pool.submit(function, *each) for each in itertools.islice(calls, 1))
        finally:
            for future in pending:
                future.cancel()
