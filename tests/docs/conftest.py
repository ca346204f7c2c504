"""A place in which the code of a page runs."""

import sys

import pytest

from calbench.benchmark.cli.catalogue import registries
from calbench.benchmark.core import registry as registry_module


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder of its own, and registries that forget what a plug-in declared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for registry in registries().values():
        list(registry)  # entry points are loaded before the copy
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setattr(registry_module, "_plugin_digests", dict(registry_module._plugin_digests))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("calbench_plugin_"):
            del sys.modules[name]
