"""The main job: ``python run_all.py [SUITE] [options]`` is ``calbench run SUITE``; without a suite it is ``quick``."""

import sys

from calbench.benchmark.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
