"""The main job: ``python run_all.py [SUITE] [options]`` is ``calbench run SUITE``; without a suite it is ``quick``."""

import sys

from calbench.benchmark.cli import main

if __name__ == "__main__":
    arguments = sys.argv[1:]
    named = bool(arguments) and not arguments[0].startswith("-")
    sys.exit(main(["run", *([] if named else ["quick"]), *arguments]))
