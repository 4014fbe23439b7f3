"""Tests of what the C library does with freed memory."""

import os
import platform
import subprocess
import sys

import pytest

from Classes.common import paths

# Arrays of one request after the other, each of one megabyte; prints the pages that the system had to clear.
REQUESTS = """
import ctypes, resource, sys
import numpy
from Classes.serving import allocator

# PR_SET_THP_DISABLE: some systems clear one huge page instead of 512 pages.
assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0

if sys.argv[1] == "keep":
    print(allocator.keep_freed_memory())

def request():
    arrays = [numpy.ones(1 << 20, "uint8") for _ in range(8)]

for _ in range(3):
    request()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    request()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def run(mode, **variables):
    known = {key: value for key, value in os.environ.items() if "MALLOC" not in key and key != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", REQUESTS, mode]
    done = subprocess.run(
        command, cwd=paths.PROJECT, env={**known, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@glibc
def test_the_memory_of_a_request_serves_the_next_one():
    [plain] = run("default")
    kept, pages = run("keep")

    assert kept == "True"
    # 20 requests of 2,048 pages.
    assert int(pages) < 500 < int(plain)


@glibc
@pytest.mark.parametrize("variable", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_the_choice_of_whoever_starts_the_server_counts(variable):
    kept, _ = run("keep", **{variable: "131072"})

    assert kept == "False"
