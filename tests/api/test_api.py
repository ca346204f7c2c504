"""The public package: what DESIGN.md's snippets use works, and importing it is light."""

import doctest
import importlib
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from documentation import load_script

import calbench as cb
from calbench.benchmark.backbones import registry as backbones
from calbench.benchmark.metrics import registry as metrics
from calbench.datasets import registry as datasets
from calbench.methods import registry as methods


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=(2000, 4))
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    return 3 * z, y


@pytest.mark.parametrize("registry", [methods, datasets, metrics, backbones])
def test_every_declared_class_is_public_under_its_class_name(registry):
    classes = {registry[name] for name in registry}
    named = {cls for cls in classes if cls.__qualname__ == cls.__name__}
    assert len(named) > 8
    for cls in named:
        assert getattr(cb, cls.__name__) is cls
        assert cls.__name__ in dir(cb)


def test_the_stub_for_static_tools_has_the_public_names():
    assert load_script("stub").STUB.read_text() == load_script("stub").stub(), "run: python docs/stub.py"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="TemperatureScalin"):
        _ = cb.TemperatureScalin


def test_the_version_is_the_installed_one():
    assert cb.__version__ == importlib.metadata.version("calbench")


@pytest.mark.parametrize("module", ["calbench._interface", "calbench._diagram"])
def test_examples_in_docstrings(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_fitted_calibrators_are_compared_as_they_are(data):
    z, y = data
    right = cb.TemperatureScaling().fit(z[:1000], y[:1000])
    wrong = cb.TemperatureScaling().fit(z[:1000] / 10, y[:1000])
    results = cb.compare({"right": right, "wrong": wrong}, logits=z[1000:], labels=y[1000:], bootstrap=0)
    nll = results.table[results.table["metric"] == "nll"].set_index("entry")["value"]
    expected = cb.evaluate(probabilities=right.predict_proba(z[1000:]), labels=y[1000:], metrics=["nll"])["nll"]
    assert nll["right"] == pytest.approx(expected, rel=1e-5)
    assert nll["right"] < nll["uncalibrated"] < nll["wrong"]


def test_with_a_calibration_split_the_calibrators_are_fitted(data):
    z, y = data
    results = cb.compare(
        {"VS": cb.VectorScaling(), "chain": [cb.TemperatureScaling(), cb.Isotonic()]},
        logits=z[1000:], labels=y[1000:], calibration_logits=z[:1000], calibration_labels=y[:1000], bootstrap=20,
    )  # fmt: skip
    assert set(results.table["entry"]) == {"uncalibrated", "VS", "chain"}
    assert results.comparisons["change"].notna().any()


def test_calibrators_that_are_not_fitted_are_refused(data):
    z, y = data
    with pytest.raises(cb.InputError, match="VS is not fitted"):
        cb.compare({"VS": cb.VectorScaling()}, logits=z, labels=y)
    with pytest.raises(cb.InputError, match="together"):
        cb.compare(logits=z, labels=y, calibration_logits=z)


def test_a_reliability_diagram_is_plotted(data):
    z, y = data
    diagram = cb.reliability_diagram(logits=z, labels=y, bins=10)
    assert diagram.ece == pytest.approx(cb.evaluate(logits=z, labels=y, metrics=["ece"], bins=10)["ece"])
    axes = diagram.plot()
    assert isinstance(axes, mpl.axes.Axes)
    drawn = axes.collections[-1].get_offsets()
    assert len(drawn) == sum(1 for one in diagram.bins if one.count)


def test_python_m_calbench_is_the_command():
    done = subprocess.run([sys.executable, "-m", "calbench", "--help"], capture_output=True, text=True, check=True)
    assert "calibrate" in done.stdout


def test_compare_names_a_list_and_a_class_as_the_fault():
    arrays = {"logits": 5 * np.eye(4), "labels": np.arange(4)}
    with pytest.raises(TypeError, match="expected a dict of names and calibrators, got list"):
        cb.compare([cb.TemperatureScaling()], **arrays)
    with pytest.raises(TypeError, match=r"TS is a class; give an instance: TemperatureScaling\(\)"):
        cb.compare({"TS": cb.TemperatureScaling}, **arrays)


def test_evaluate_gives_intervals_when_asked(data):
    z, y = data
    plain = cb.evaluate(logits=z, labels=y, metrics=["ece", "accuracy"])
    estimates = cb.evaluate(logits=z, labels=y, metrics=["ece", "accuracy"], interval=0.95)
    for name, value in plain.items():
        assert estimates[name].value == value
        assert estimates[name].low < value < estimates[name].high
