import importlib.metadata
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from calbench.benchmark.cli.catalogue import registries
from calbench.benchmark.core.declaration import check_declaration
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Plugin, Registry


@pytest.fixture
def registry():
    registry = Registry("thing")

    @registry.register("first", label="First", paper="someone2020")
    @dataclass
    class First(Component):
        size: Annotated[int, Field(ge=1)] = 4
        kind: Literal["a", "b"] = "a"
        rates: tuple[float, ...] = ()

    @registry.register("needy")
    @dataclass
    class Needy(Component):
        path: str

    return registry


def test_a_declaration_carries_name_label_paper_and_version(registry):
    spec = registry["first"].spec
    assert (spec.name, spec.label, spec.paper) == ("first", "First", "someone2020")
    assert list(registry) == ["first", "needy"]
    assert "first" in registry
    assert "second" not in registry


def test_options_are_checked_by_name_type_and_range(registry):
    assert registry.create("first", size="8", rates=[1, 2]).options() == {"size": 8, "kind": "a", "rates": (1.0, 2.0)}
    for options, message in [
        ({"siz": 1}, "unknown option of first 'siz' (did you mean 'size'?)"),
        ({"size": 0}, "first: option size=0"),
        ({"size": "many"}, "first: option size='many'"),
        ({"kind": "c"}, "first: option kind='c'"),
    ]:
        with pytest.raises(InputError) as error:
            registry.create("first", **options)
        assert message in str(error.value)
    with pytest.raises(InputError, match="option size"):
        registry["first"](size=-1)
    with pytest.raises(InputError, match="needs the option 'path'"):
        registry.create("needy")


def test_names_are_checked(registry):
    with pytest.raises(InputError, match="did you mean 'first'"):
        registry["frist"]
    for name in ("Upper", "a/b", "../x", "", "a b", "-x"):
        with pytest.raises(InputError, match="lower-case"):
            registry.register(name)


def test_a_name_is_taken_once(registry):
    class Other(Component):
        __module__ = "elsewhere"

    with pytest.raises(InputError, match="declared twice: class First in .*test_registry and class Other in elsewhere"):
        registry.register("first")(Other)


def test_two_classes_of_one_module_cannot_share_a_name(registry):
    class Other(Component):
        """Another class than First, in this module."""

    with pytest.raises(InputError, match="class First in .* and class .*Other in .*; give one of them another name"):
        registry.register("first")(Other)


class Kind(Component):
    """A base class with attributes for classes, as those of methods."""

    needs: ClassVar[frozenset[Literal["features", "labels"]]] = frozenset()
    keeps_accuracy: ClassVar[bool] = False


@pytest.mark.parametrize(
    ("bases", "attributes", "message"),
    [
        ((), {}, "class Wrong has no base class of calbench; write `class Wrong"),
        ((Kind,), {"keep_accuracy": True}, "unknown attribute 'keep_accuracy' .did you mean 'keeps_accuracy'"),
        ((Kind,), {"__annotations__": {"need": str}}, "unknown attribute 'need' .did you mean 'needs'"),
        ((Kind,), {"needs": frozenset({"feature"})}, "needs = .*'feature'.*: Input should be 'features'"),
        ((Kind,), {"needs": "features"}, "needs = 'features': Input should be a valid frozenset"),
    ],
)
def test_a_mistake_in_the_class_is_seen_when_it_is_declared(registry, bases, attributes, message):
    with pytest.raises(InputError, match=message):
        registry.register("wrong")(type("Wrong", bases, attributes))


def test_attributes_of_any_other_name_are_allowed(registry):
    attributes = {"keeps_accuracy": True, "needs": frozenset({"labels"}), "scale": 2, "kept": {}, "need_more": len}
    registry.register("right")(type("Right", (Kind,), attributes))
    assert registry["right"].scale == 2


def test_what_calbench_ships_passes_the_checks_of_plug_ins():
    for one in registries().values():
        for name in one:
            check_declaration(name, one[name], Component)


def test_register_without_a_name_and_options_without_dataclass(registry):
    with pytest.raises(InputError, match='write @register."my-thing".'):
        registry.register(Kind)

    @registry.register("plain")
    class Plain(Component):
        weight: float = 1.0

    with pytest.raises(InputError, match="plain: class Plain has no options; write @dataclass above it"):
        registry.create("plain", weight=2.0)


def test_spelling_and_identity_follow_from_the_options(registry):
    thing = registry.create("first", size=5)
    assert thing.spelled() == "first(size=5)"
    assert registry.create("first").spelled() == "first"
    identity = thing.identity()
    assert identity.pop("source")
    assert identity == {"name": "first", "options": {"size": 5, "kind": "a", "rates": ()}}


def test_entry_points_are_loaded_once_and_a_broken_one_is_named(registry, monkeypatch):
    loaded = []

    class Point:
        value = "package.module"

        def load(self):
            loaded.append(1)
            registry.register("from-entry-point")(type("P", (Component,), {}))

    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [Point()] if group == "calbench.things" else []
    )
    assert "from-entry-point" in registry
    assert list(registry)
    assert loaded == [1]

    class Broken(Point):
        def load(self):
            raise ImportError("no module named x")

    other = Registry("thing")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Broken()])
    with pytest.raises(InputError, match="plug-in package.module .*no module named x"):
        list(other)
    with pytest.raises(InputError, match="no module named x"):  # and at every later use
        list(other)


PLUGIN = """\
from dataclasses import dataclass
import torch
from calbench.datasets import Dataset, Split, Splits, register as register_dataset
from calbench.benchmark.backbones import Backbone, register as register_backbone
from calbench.benchmark.metrics import Metric, register as register_metric
from calbench.methods import BackboneInfo, Representation


@register_dataset("two-dots")
@dataclass
class TwoDots(Dataset):
    '''Two classes of one pixel.'''
    num_classes = 2
    channels = 1
    image_size = 2
    mean = (0.5,)
    std = (0.5,)

    def load(self, root):
        def split(seed, n):
            generator = torch.Generator().manual_seed(seed)
            labels = torch.randint(2, (n,), generator=generator)
            return Split(labels[:, None, None, None] + 0.6 * torch.randn(n, 1, 2, 2, generator=generator), labels)
        return Splits(split(0, 200), split(1, 100))

    def fingerprint(self, root):
        return "two-dots"


class Linear(torch.nn.Module):
    def __init__(self, size, num_classes):
        super().__init__()
        self.layer = torch.nn.Linear(size, num_classes)

    def forward(self, images):
        features = images.flatten(1)
        return Representation(self.layer(features), features)


@register_backbone("linear")
@dataclass
class LinearBackbone(Backbone):
    '''Logistic regression.'''
    def info(self, dataset):
        size = dataset.channels * dataset.image_size**2
        return BackboneInfo("linear", size, has_cls_token=False, has_patch_tokens=False)

    def build(self, num_classes, channels, image_size):
        return Linear(channels * image_size**2, num_classes)


@register_metric("error-rate", label="Error")
@dataclass
class ErrorRate(Metric):
    '''Share of wrong predictions, per cent.'''
    def values(self, view):
        from calbench.benchmark.metrics import registry
        return 100 - registry.create("accuracy").values(view)
"""


def test_a_plugin_adds_datasets_backbones_and_metrics(tmp_path, run):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    Plugin.load(path)
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "datasets: [two-dots]\nbackbones: [linear]\nentries: [cross-entropy, calattn, temperature-scaling]\n"
        "protocol: {bootstrap: 20, metrics: [accuracy, error-rate, ece]}\ntraining: {epochs: 2, augment: false}\n"
    )
    results = run(str(suite))
    assert [cell["status"] for cell in results.run["cells"]] == ["done", "done"]
    table = results.table.pivot_table(index="entry", columns="metric", values="value")
    assert (table["accuracy"] + table["error-rate"]).to_list() == pytest.approx([100, 100, 100])
    assert "no [CLS] token" in " ".join(results.run["notes"])


def test_an_edit_of_one_method_in_a_plugin_leaves_the_others_as_they_are(tmp_path):
    from calbench.methods import registry

    head = "from dataclasses import dataclass\nfrom calbench.methods import Calibrator, Objective, register\n"
    calibrator = (
        "@register('{0}')\n@dataclass\nclass {0}(Calibrator):\n    'x'\n"
        "    def fit(self, logits, labels):\n        return self\n"
        "    def transform(self, logits):\n        return logits / {1}\n"
    )
    loss = (
        "@register('third')\n@dataclass\nclass Third(Objective):\n    'x'\n"
        "    def loss(self, outputs, targets):\n        return outputs.logits.mean()\n"
    )
    path, versions = tmp_path / "several.py", []
    for divisor in (2, 3):
        path.write_text(head + calibrator.format("first", divisor) + calibrator.format("second", 5) + loss)
        Plugin.load(path)
        versions.append([registry.create(name).identity()["source"] for name in ("first", "second", "third")])
    before, after = versions
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_an_edited_plugin_replaces_itself_and_is_another_cell(tmp_path):
    from calbench.methods import registry

    text = (
        "from dataclasses import dataclass\nfrom calbench.methods import register\n"
        "from calbench.methods.losses.brier import BrierLoss\n"
        "@register('edited')\n@dataclass\nclass Edited(BrierLoss):\n    '''x'''\n"
    )
    path, versions = tmp_path / "edited.py", []
    for edit in ("", "    extra = 1\n"):
        path.write_text(text + edit)
        Plugin.load(path)
        versions.append(registry.create("edited").identity()["source"])
    assert versions[0] != versions[1]
