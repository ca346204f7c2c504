"""Preflight: a mistake in a plug-in is one line with file and line number, before anything is trained."""

import pytest
import torch

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.execution.preflight import preflight
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.benchmark.store.store import Store

HEADER = """\
from dataclasses import dataclass
import torch
from calbench.methods import Augmentation, Calibrator, Head, HeadModule, Objective, register
"""
MISTAKES = {
    "attribute": (
        "class Wrong(Objective):\n    def loss(self, outputs, targets):\n        return outputs.logit.mean()\n",
        "wrong on digits / vit-micro.*: plugin.py, line 8: AttributeError: 'Outputs' object has no attribute 'logit' "
        "[(]did you mean 'logits'[?][)]$",
    ),
    "attribute of a backbone": (
        "class Wrong(Head):\n    def build(self, backbone, num_classes):\n        return backbone.width\n",
        "plugin.py, line 8: AttributeError: 'BackboneInfo' object has no attribute 'width'; known: has_cls_token, .*"
        "num_features$",
    ),
    "build": (
        "class Wrong(Head):\n    def build(self, num_classes):\n        return None\n",
        "plugin.py, line 4: Wrong: TypeError: Wrong.build.. takes 2 positional arguments but 3 were given",
    ),
    "head without temperatures": (
        "class Wrong(Head):\n    def build(self, backbone, num_classes):\n        return Module()\n"
        "class Module(HeadModule):\n    def forward(self, representation):\n        return representation.logits\n",
        r"line 4: Wrong: forward gives a tensor of shape \(8, 10\); expected the logits \(N, K\), and the temperatures",
    ),
    "no scalar": (
        "class Wrong(Objective):\n    def loss(self, outputs, targets):\n        return outputs.logits.mean(1)\n",
        r"plugin.py, line 4: Wrong: the loss is of shape \(8,\); expected a scalar tensor with a gradient",
    ),
    "head shape": (
        "class Wrong(Head):\n    def build(self, backbone, num_classes):\n        return Module()\n"
        "class Module(HeadModule):\n    def forward(self, representation):\n"
        "        return representation.logits[:, 1:], None\n",
        r"plugin.py, line 4: Wrong: the logits are of shape \(8, 9\); expected shape \(8, 10\)",
    ),
    "head temperature": (
        "class Wrong(Head):\n    def build(self, backbone, num_classes):\n        return Module()\n"
        "class Module(HeadModule):\n    def forward(self, representation):\n"
        "        return representation.logits, representation.logits[:, :1]\n",
        r"Wrong: the temperatures are of shape \(8, 1\); expected shape \(8,\)",
    ),
    "augmentation": (
        "class Wrong(Augmentation):\n    def mix(self, images, targets, generator):\n"
        "        return images, targets.argmax(1)\n",
        r"Wrong: mix gives .* targets of shape \(8,\); expected shapes \(N, C, H, W\) and \(N, 10\)",
    ),
    "fit": (
        "class Wrong(Calibrator):\n    def fit(self, logits, labels):\n        import numpy as np\n"
        "        self.scale_ = np.stack([logits.numpy(), labels.numpy()])\n        return self\n"
        "    def transform(self, logits):\n        return logits\n",
        "^wrong: plugin.py, line 9: ValueError: all input arrays must have the same shape",
    ),
    "fit in compiled code": (
        "class Wrong(Calibrator):\n    def fit(self, logits, labels):\n"
        "        self.scale_ = logits.numpy() * labels.numpy()\n        return self\n"
        "    def transform(self, logits):\n        return logits\n",
        "^wrong: plugin.py, line 8: ValueError: operands could not be broadcast together",
    ),
    "transform of another shape": (
        "class Wrong(Calibrator):\n    keeps_accuracy = True\n    def fit(self, logits, labels):\n        return self\n"
        "    def transform(self, logits):\n        return logits[:, 0]\n",
        r"^wrong: plugin.py, line 4: Wrong: transform gives a tensor of shape \(200,\); expected a tensor of shape",
    ),
    "transform to NumPy": (
        "class Wrong(Calibrator):\n    keeps_accuracy = True\n    def fit(self, logits, labels):\n        return self\n"
        "    def transform(self, logits):\n        return logits.numpy()\n",
        "Wrong: transform gives ndarray; expected a tensor of shape",
    ),
    "a broken promise": (
        "class Wrong(Calibrator):\n    keeps_accuracy = True\n    def fit(self, logits, labels):\n        return self\n"
        "    def transform(self, logits):\n        return -logits\n",
        "Wrong: keeps_accuracy = True, but transform changes the predicted class of 200 of 200 random rows",
    ),
    "features not asked for": (
        "class Wrong(Calibrator):\n    def fit(self, logits, labels, features):\n        return self\n"
        "    def transform(self, logits, features):\n        return logits\n",
        r'Wrong: fit has the parameter `features`: write needs = frozenset\({"features"}\)',
    ),
    "features not taken": (
        'class Wrong(Calibrator):\n    needs = frozenset({"features"})\n    def fit(self, logits, labels):\n'
        "        return self\n    def transform(self, logits):\n        return logits\n",
        'Wrong: needs has "features", but fit has no parameter `features`',
    ),
    "transform": (
        "class Wrong(Calibrator):\n    def fit(self, logits, labels):\n        self.scale_ = 1.0\n        return self\n"
        "    def transform(self, logits):\n        return logits * self.scale\n",
        "^wrong: plugin.py, line 11: AttributeError: 'Wrong' object has no attribute 'scale'",
    ),
}


def works_of(tiny, tmp_path, entries):
    options = RunOptions(results_dir=str(tmp_path / "results"))
    return plan_suite(load_suite(tiny, entries=entries), options), Store(options.results_dir)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_line(mistake, tiny, tmp_path, forgotten):
    text, message = MISTAKES[mistake]
    (tmp_path / "plugin.py").write_text(f'{HEADER}@register("wrong")\n@dataclass\n{text}')
    Plugin.load(tmp_path / "plugin.py")
    works, store = works_of(tiny, tmp_path, ["wrong"])
    with pytest.raises(InputError, match=message) as caught:
        preflight(works, store)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", ["ValueError", "InputError"])
def test_a_calibrator_may_refuse_data(error, tiny, tmp_path, forgotten):
    text = (
        "from calbench.benchmark.core.errors import InputError\n"
        '@register("refusing")\n@dataclass\nclass Refusing(Calibrator):\n'
        "    def fit(self, logits, labels):\n        self.check(logits)\n        return self\n"
        f"    def check(self, logits):\n        raise {error}('too many classes')\n"
        "    def transform(self, logits):\n        return logits\n"
    )
    (tmp_path / "plugin.py").write_text(HEADER + text)
    Plugin.load(tmp_path / "plugin.py")
    preflight(*works_of(tiny, tmp_path, ["refusing"]))


def test_a_run_stops_at_the_mistake_before_it_trains(calbench, tiny, tmp_path, forgotten):
    (tmp_path / "plugin.py").write_text(f'{HEADER}@register("wrong")\n@dataclass\n{MISTAKES["attribute"][0]}\n')
    status, _, err = calbench("run", tiny, "--plugin", "plugin.py", "--entry", "wrong", "--results-dir", "r")
    assert status == 2
    assert "plugin.py, line 8: AttributeError" in err
    assert not list(tmp_path.glob("r/cache/*/"))


def test_a_calibrator_without_fit_is_one_line(calbench, tmp_path, forgotten):
    text = "class Wrong(Calibrator):\n    def transform(self, logits):\n        return logits\n"
    (tmp_path / "plugin.py").write_text(f'{HEADER}@register("wrong")\n@dataclass\n{text}')
    status, _, err = calbench("list", "methods", "--plugin", "plugin.py")
    assert (status, err.strip().count("\n")) == (2, 0)
    assert "plug-in plugin.py, line 4: method 'wrong': class Wrong has no fit" in err


def test_what_calbench_ships_passes_and_leaves_the_random_state(tiny, tmp_path):
    works, store = works_of(tiny, tmp_path, ["mixup + temperature-scaling", "calattn(hidden=8)", "sam", "crl"])
    before = torch.get_rng_state()
    preflight(works, store)
    assert torch.equal(torch.get_rng_state(), before)
