"""The main job: ``python run_all.py [SUITE] [options]`` is ``calbench run SUITE``; without a suite it is ``quick``."""

import sys

from calbench.benchmark.cli.start import start

if __name__ == "__main__":
    start(["run", *sys.argv[1:]])
