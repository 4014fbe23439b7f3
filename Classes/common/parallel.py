"""Many calls on all cores, a few of them under way at a time, so that memory stays flat."""

import collections
import concurrent.futures
import itertools


def map_threads(function, work, workers):
    """The answers of `function(*arguments)`, in order.

    Args:
      function: called in several threads.
      work: iterable of arguments, read as it is needed.
      workers: threads.
    Yields:
      an answer for each; what a call raises is raised here.
    """
    work = iter(work)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(function, *each) for each in itertools.islice(work, 8 * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, *each) for each in itertools.islice(work, 1))
        finally:
            for future in waiting:
                future.cancel()
