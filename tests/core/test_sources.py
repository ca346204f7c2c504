"""An edit of the source changes the digest of what depends on it, and of nothing else."""

import os
import subprocess
import sys

import pytest
from fast_set import slowly

from calbench.benchmark.backbones import registry as backbones
from calbench.benchmark.config.cell import FOLLOWING, READING, TRAINING
from calbench.benchmark.core import sources, unchanged
from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.evaluation.entries import evaluate_entry
from calbench.benchmark.metrics import registry as metrics
from calbench.datasets import registry as datasets
from calbench.methods import registry as methods

CACHED = [sources.source_digest, sources.definition_digests, sources._module, sources._file, sources._followed,
          sources._is_plumbing, sources._references, unchanged.declarations]  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_caches():
    yield
    for function in CACHED:
        function.cache_clear()


@pytest.fixture
def edit(monkeypatch, tmp_path):
    """Return a function that replaces text in a module's source, as the digests see it."""
    original = sources._file.__wrapped__

    def edit(module, old, new):
        path = original(module)
        copy = tmp_path / path.parent.name / path.name
        copy.parent.mkdir(exist_ok=True)
        text = path.read_text("utf-8")
        assert old in text
        copy.write_text(text.replace(old, new), "utf-8")
        for function in CACHED:
            function.cache_clear()
        monkeypatch.setattr(sources, "_file", lambda name: copy if name == module else original(name))

    for function in CACHED:
        function.cache_clear()
    return edit


ROOTS = {
    "temperature-scaling": lambda: methods["temperature-scaling"],
    "vector-scaling": lambda: methods["vector-scaling"],
    "focal": lambda: methods["focal"],
    "brier": lambda: methods["brier"],
    "mixup": lambda: methods["mixup"],
    "d-mixup": lambda: methods["d-mixup"],
    "calattn": lambda: methods["calattn"],
    "tempnet": lambda: methods["tempnet"],
    "ece": lambda: metrics["ece"],
    "nll": lambda: metrics["nll"],
    "overlap": lambda: datasets["overlap"],
    "digits": lambda: datasets["digits"],
    "vit-micro": lambda: backbones["vit-micro"],
    "swin-micro": lambda: backbones["swin-micro"],
    "training": lambda: TRAINING,
    "following": lambda: FOLLOWING,
    "evaluation": lambda: evaluate_entry,
    "reading": lambda: READING,
}


def digests():
    return {name: sources.source_digest(root()) for name, root in ROOTS.items()}


@pytest.fixture(scope="module")
def before():
    """The digests of the source as it is."""
    return digests()


@pytest.mark.parametrize(
    ("module", "old", "new", "touched"),
    [
        ("methods.calibrators.temperature.temperature_scaling", "return ", "return 1 * ", {"temperature-scaling"}),
        ("methods.augmentations._mixing", "return ", "return 1 * ", {"mixup", "d-mixup"}),
        ("datasets._split", "remainders, kind", "1 * remainders, kind", {"digits", "training"}),
        ("benchmark.backbones.vit_micro", "depth: Count = 2", "depth: Count = 3", {"vit-micro"}),
        ("benchmark.training.prediction", "model.eval()\n    indices", "model.train()\n    indices", {"training"}),
        ("benchmark.core.seeds", ">> 1", ">> 2",
         {"training", "evaluation", "overlap", "mixup", "d-mixup", "following"} - {"following"}),
        ("benchmark.predictions.readers.delimited", "FORMAT = ", "FORMAT = 1 * ", {"reading"}),
        *slowly(
            ("methods.losses.focal", "return ", "return 1 * ", {"focal"}),
            ("methods.heads.calattn", "return ", "return 1 * ", {"calattn"}),
            ("methods.augmentations.mixup", "return ", "return 1 * ", {"mixup"}),
            ("datasets.overlap", "return ", "return 1 * ", {"overlap"}),
            ("benchmark.training.optimization", "WARMUP_START = 0.01", "WARMUP_START = 0.02", {"training"}),
            ("benchmark.training.following", "labels=part.labels", "labels=1 * part.labels", {"following"}),
        ),
    ],
)  # fmt: skip
def test_an_edit_changes_what_depends_on_it_and_nothing_else(before, edit, module, old, new, touched):
    edit(f"calbench.{module}", old, new)
    after = digests()
    assert {name for name in ROOTS if before[name] != after[name]} == touched


def test_a_metric_that_is_edited_changes_with_those_that_share_its_code(before, edit):
    edit("calbench.benchmark.metrics.parts", "def bin_index", "def bin_index(edges): return 0\ndef bin_index")
    assert before["ece"] != digests()["ece"]
    assert before["focal"] == digests()["focal"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("The focal loss", "The edited focal loss"),
        ("\n\n\n@register", "\n\n\n# a comment\n\n@register"),
        ('label="', 'label="New '),
        (" -> Tensor:", ":"),
    ],
    ids=["docstring", "comment", "label", "annotation"],
)
def test_what_cannot_change_a_number_does_not_count(edit, old, new):
    before = sources.source_digest(methods["focal"])
    edit("calbench.methods.losses.focal", old, new)
    assert sources.source_digest(methods["focal"]) == before


def test_the_place_of_a_definition_does_not_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one_room.py").write_text(
        "SCALE = 2\ndef helper(x):\n    return SCALE * x\ndef root(x):\n    return helper(x)\n"
    )
    (tmp_path / "other_room.py").write_text("SCALE = 2\ndef helper(x):\n    return SCALE * x\n")
    (tmp_path / "two_rooms.py").write_text("from other_room import helper\ndef root(x):\n    return helper(x)\n")
    assert sources.source_digest("one_room:root") == sources.source_digest("two_rooms:root")


def test_a_cast_does_not_count_and_a_function_of_that_name_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plain, called = "def root(x):\n    return 2 * x\n", "def root(x):\n    return 2 * cast('int', x)\n"
    (tmp_path / "uncast.py").write_text(plain)
    (tmp_path / "typed.py").write_text(f"from typing import cast\n{called}")
    (tmp_path / "renamed.py").write_text(f"from typing import cast as typed\n{called.replace('cast(', 'typed(')}")
    (tmp_path / "other.py").write_text(f"from numpy import astype as cast\n{called}")
    assert sources.source_digest("typed:root") == sources.source_digest("uncast:root")
    assert sources.source_digest("renamed:root") == sources.source_digest("uncast:root")
    assert sources.source_digest("other:root") != sources.source_digest("uncast:root")


PLUGIN = """
from dataclasses import dataclass
from calbench.methods import Calibrator, register
import {helper}

@register("{name}")
@dataclass
class Helped(Calibrator):
    '''z / scale.'''

    def fit(self, logits, labels):
        return self

    def transform(self, logits):
        return logits / {helper}.scale()
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plug-in that imports a helper module next to it; gives its class and the helper's path."""
    monkeypatch.syspath_prepend(tmp_path)
    helper = tmp_path / "scale_helper.py"
    helper.write_text("VALUE = 2.0\ndef scale():\n    return VALUE\ndef unused():\n    return 1\n")
    (tmp_path / "helped_plugin.py").write_text(PLUGIN.format(helper="scale_helper", name="helped-test"))
    loaded = Plugin.load(tmp_path / "helped_plugin.py")
    yield methods["helped-test"], helper
    methods._classes.pop("helped-test")
    sys.modules.pop(loaded.module)
    sys.modules.pop("scale_helper")


@pytest.mark.parametrize(
    ("old", "new", "changes"), [("VALUE = 2.0", "VALUE = 3.0", True), ("return 1", "return 2", False)]
)
def test_a_module_that_a_plugin_imports_counts(plugin, old, new, changes):
    cls, helper = plugin
    before = sources.source_digest(cls)
    helper.write_text(helper.read_text().replace(old, new))
    for function in CACHED:
        function.cache_clear()
    assert (sources.source_digest(cls) != before) is changes


def test_installed_libraries_do_not_count():
    modules = {name.partition(":")[0].partition(".")[0] for name in sources.definition_digests(TRAINING)}
    assert modules == {"calbench"}


def test_an_edit_declared_unchanged_keeps_the_digest(edit, monkeypatch, tmp_path):
    monkeypatch.setattr(unchanged, "FILE", tmp_path / "unchanged.yaml")
    unchanged.FILE.write_text("[]")
    cls = methods["focal"]
    digests = [sources.source_digest(cls)]
    for times in ("1 * ", "2 * "):
        edit("calbench.methods.losses.focal", "return ", f"return {times}")
        new = sources.source_digest(cls)
        assert new not in digests
        unchanged.declare([{"part": "focal", "new": new, "old": digests[-1], "reason": "test"}])
        digests.append(new)
        sources.source_digest.cache_clear()
        assert sources.source_digest(cls) == digests[0]
    assert unchanged.FILE.read_text().count("reason: test") == 2


INSTALLED = """
import os
import sys
sys.path.insert(0, sys.argv[1])
from calbench.benchmark.core.sources import definition_digests, source_digest
from calbench.methods import registry
for _ in sys.stdin:
    if not os.fork():  # which knows nothing of the package yet
        cls = registry["installed-test"]
        names = sorted(name for name in definition_digests(cls) if name.startswith("installed"))
        print(source_digest(cls), *names, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_plugin_of_an_installed_package_counts_with_the_modules_it_imports(tmp_path):
    site = tmp_path / "site-packages"
    package, info = site / "installed_package", site / "installed_package-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[calbench.methods]\ninstalled = installed_package.method\n")
    (package / "__init__.py").write_text("")
    scales, method = package / "scales.py", package / "method.py"
    helper = "installed_package.scales"
    method.write_text(PLUGIN.format(helper=f"{helper} as scales", name="installed-test").replace(
        f"{helper} as scales.scale()", "scales.scale()"
    ))  # fmt: skip
    scales.write_text("def scale():\n    return 2.0\ndef unused():\n    return 1\n")

    def digest(process):
        process.stdin.write("\n")
        process.stdin.flush()
        first, *names = process.stdout.readline().split()
        assert {"installed_package.method:Helped", f"{helper}:scale"} <= set(names)
        return first

    command = [sys.executable, "-B", "-c", INSTALLED, str(site)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        digests = [digest(process)]
        for path, old, new in (
            (scales, "return 2.0", "return 3.0"),
            (method, "return logits /", "return logits *"),
            (scales, "return 1", "return 5"),
        ):
            path.write_text(path.read_text().replace(old, new))
            digests.append(digest(process))
    assert len(set(digests)) == 3
    assert digests[-1] == digests[-2]  # what is not used does not count
