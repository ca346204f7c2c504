"""What modules load when they are imported: nothing from above them, and nothing heavy before it is needed."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import importlib, json, os, sys
loaded = {}

def load(module):
    importlib.import_module(f"calbench.benchmark.{module}" if module else "calbench")
    loaded[module] = sorted(sys.modules)

def load_aside(module):  # in a fork, so that nothing of it is loaded afterwards
    reader, writer = os.pipe()
    if os.fork() == 0:
        load(module)
        with os.fdopen(writer, "w") as pipe:
            json.dump(loaded[module], pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        loaded[module] = json.load(pipe)

load("")
load_aside("cli.main")
load("statistics")
from calbench.benchmark import backbones
from calbench.datasets import registry
digits = registry.create("digits")
for name in backbones.registry:
    if name != "timm":
        backbone = backbones.create(name)
        backbone.info(digits), backbone.identity(), backbone.spelled()
load("backbones")
load_aside("report")
load("execution.runner")
print(json.dumps(loaded))
"""
ABOVE = {
    "statistics": ["results", "store", "report", "config", "execution"],
    "report": ["config.suite", "execution", "store.store", "training", "cli"],
    "execution.runner": ["report", "cli"],
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_module_loads_nothing_from_above_it_and_nothing_heavy_before_it_is_needed():
    """One process, as importing torch takes seconds: each step adds to what is loaded."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    for module, above in ABOVE.items():
        for name in above:
            assert [one for one in loaded[module] if f"{one}.".startswith(f"calbench.benchmark.{name}.")] == [], module
    assert not {"torch", "numpy", "pandas", "timm", "netcal"} & set(loaded[""])
    assert not {"torch", "scipy", "sklearn", "matplotlib"} & set(loaded["cli.main"])
    assert not {"timm", "torchvision"} & set(loaded["backbones"])
