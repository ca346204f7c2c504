"""Files of a few kilobytes that ask the libraries for gigabytes, minutes or the whole stack: refused in little of each.

Every file is read in a process of its own, whose memory and time of the processor are limited: a signal is a failure.
"""

import re
import subprocess
import sys

import pytest
from small_bombs import BOMBS

MEMORY = 2 << 30
"""Bytes that a reader may take in addition to what it has when its libraries are imported."""
SECONDS = 10
"""Of the processor; most files take a tenth."""
READ = """
import resource, sys
import h5py, pandas, pyarrow.parquet, scipy.io, torch
from pathlib import Path
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source

used = resource.getrusage(resource.RUSAGE_SELF)
pages = int(Path("/proc/self/statm").read_text().split()[0])
memory = pages * resource.getpagesize() + int(sys.argv[1])
seconds = int(used.ru_utime + used.ru_stime) + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
for name in sys.argv[3:]:
    try:
        read_numbers(Path(name), Source(), lambda line: None)
        print("read", flush=True)
    except InputError as error:
        print(error, flush=True)
"""


@pytest.mark.slow
def test_small_bombs_take_little_memory_and_time(tmp_path):
    for name, (make, _) in BOMBS.items():
        make(tmp_path / name)
    command = [sys.executable, "-W", "ignore", "-c", READ, str(MEMORY), str(SECONDS + len(BOMBS))]
    done = subprocess.run([*command, *(tmp_path / name for name in BOMBS)], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (list(BOMBS)[len(lines)], done.returncode, done.stderr[-2000:])
    assert len(lines) == len(BOMBS)
    for (name, (_, message)), line in zip(BOMBS.items(), lines, strict=True):
        assert re.search(message, line), (name, line)
    print(f"{len(BOMBS)} small bombs refused")
