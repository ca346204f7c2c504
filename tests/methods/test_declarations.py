"""What every training-time method of the package promises, whatever its kind."""

import inspect
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from calbench.benchmark.core.registry import option_defaults, option_fields
from calbench.methods import registry
from calbench.methods.base import Need
from calbench.methods.running import KINDS

METHODS = [n for n in registry if registry[n].__module__.startswith("calbench.") and registry[n].kind != "calibrator"]
PAPERS = sorted((Path(__file__).parents[2] / "results/reference/papers").glob("*.bib"))
KEYS = [key for path in PAPERS for key in re.findall(r"^@\w+\{([^,]+),", path.read_text("utf-8"), re.MULTILINE)]


@pytest.mark.parametrize("name", METHODS)
def test_declaration(name):
    method = registry[name]
    assert method.kind in KINDS
    assert method.needs <= set(get_args(Need))
    assert method.spec.paper is None or method.spec.paper in KEYS, "the paper is cited in a .bib file"
    formula = inspect.getdoc(method).splitlines()[0]
    assert not formula.startswith(f"{method.__name__}("), "a docstring of its own, not the dataclass's"
    assert re.search(r"[-+/=^]|softmax", formula), "the docstring begins with the formula"


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_valid_and_spelled_by_name_alone(name):
    method = registry[name]
    assert len(option_defaults(method)) == len(option_fields(method)), "every option has a default"
    made = registry.create(name)
    assert made.spelled() == name
    assert registry.create(name, **made.options()).identity() == made.identity()


def test_labels_and_papers_are_unique():
    labels = Counter(registry[name].spec.label for name in METHODS)
    assert [label for label, times in labels.items() if times > 1] == []
    assert [key for key, times in Counter(KEYS).items() if times > 1] == []
