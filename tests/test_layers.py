"""Imports run one way: what a module loads when it is imported, in a process of its own."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "above"),
    [
        ("execution.runner", ["report", "cli"]),
        ("statistics", ["results", "store", "report", "config", "execution"]),
        ("report", ["config.suite", "execution", "store.store", "training", "cli"]),
    ],
)
def test_a_module_loads_nothing_from_above_it(module, above):
    code = f"import sys, calbench.benchmark.{module}; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    for name in above:
        assert [one for one in loaded if f"{one}.".startswith(f"calbench.benchmark.{name}.")] == []
