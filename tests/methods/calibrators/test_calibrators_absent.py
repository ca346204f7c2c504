"""Classes without a calibration row are named by every calibrator, and harm no test row."""

import warnings

import numpy as np
import pytest
import torch
from calibrator_fits import one_per_family
from fast_set import fast_only
from torch.nn import functional

from calbench.benchmark.core.registry import option_defaults
from calbench.methods import registry
from calbench.methods.calibrators._absent import with_absent
from calbench.methods.solvers.newton import optimal_temperature

NAMES = [name for name in registry if registry[name].kind == "calibrator" and "binary" not in registry[name].needs]
ABSENT = 4


def sample(rows, seed, temperature=2.0, classes=5):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, classes)) * 2
    labels = (true + rng.gumbel(size=true.shape)).argmax(1)
    return torch.from_numpy(temperature * true), torch.from_numpy(labels), torch.from_numpy(rng.normal(size=(rows, 3)))


def make(name):
    if hasattr(registry[name], "package"):
        pytest.importorskip(registry[name].package)
    return registry.create(name, **({"steps": 40} if "steps" in option_defaults(registry[name]) else {}))


def fit(name):
    """The calibrator, the arguments of its `transform`, and what its `fit` warned of."""
    logits, labels, features = sample(400, 0)
    kept = labels != ABSENT
    calibrator = make(name)
    extra = {"features": features[kept]} if "features" in calibrator.needs else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(logits[kept], labels[kept], **extra)
    return calibrator, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("name", fast_only(one_per_family(), NAMES))
def test_absent_classes_are_named_and_cost_little(name):
    calibrator, messages = fit(name)
    assert any(message.startswith(f"{name}: no calibration row of class {ABSENT}: it ") for message in messages)
    logits, labels, features = sample(1500, 1)
    extra = {"features": features} if "features" in calibrator.needs else {}
    calibrated = calibrator.transform(logits, **extra)
    assert functional.cross_entropy(calibrated, labels) < functional.cross_entropy(logits, labels) + 0.1
    before, after = ((z.argmax(1) == labels).double().mean() for z in (logits, calibrated))
    assert after > before - 0.06
    if not calibrator.fits_each_class:
        return
    single = logits / calibrator.absent_temperature_
    torch.testing.assert_close(
        calibrated.softmax(1)[:, ABSENT], single.softmax(1)[:, ABSENT].to(calibrated.dtype), atol=1e-6, rtol=1e-5
    )


def test_the_present_classes_share_the_rest_as_the_map_says():
    logits, labels, _ = sample(500, 2)
    kept = labels != 1
    logits, labels = logits[kept], labels[kept]
    with pytest.warns(UserWarning, match="no calibration row of class 1"):
        whole = registry.create("vector-scaling").fit(logits, labels).predict_proba(logits)
    present = torch.tensor([0, 2, 3, 4])
    part = registry.create("vector-scaling").fit(logits[:, present], torch.searchsorted(present, labels))
    single = (logits / optimal_temperature(logits, labels)).softmax(1)
    expected = single.clone()
    expected[:, present] = part.predict_proba(logits[:, present]) * (1 - single[:, 1:2])
    torch.testing.assert_close(whole, expected)


def test_one_class_present_leaves_temperature_scaling():
    logits = torch.randn(6, 3, dtype=torch.float64)
    mapped = with_absent(logits, torch.tensor([1]), 2.0, lambda z: z)
    torch.testing.assert_close(mapped, (logits / 2).log_softmax(1))


def test_many_absent_classes_are_counted():
    logits, labels, _ = sample(50, 0, classes=60)
    with pytest.warns(UserWarning, match=r"no calibration row of classes 0, 1, 2, 3, 4 and \d+ others: they are"):
        registry.create("temperature-scaling").fit(logits, labels.clamp(min=20))


def test_a_complete_fit_after_one_with_absent_classes_forgets_them():
    logits, labels, _ = sample(400, 0)
    with pytest.warns(UserWarning, match="no calibration row"):
        calibrator = registry.create("vector-scaling").fit(logits[labels != 2], labels[labels != 2])
    again = calibrator.fit(logits, labels)
    assert not hasattr(again, "present_")
    fresh = registry.create("vector-scaling").fit(logits, labels)
    assert torch.equal(again.transform(logits), fresh.transform(logits))


def test_saved_calibrators_remember_absent_classes(tmp_path):
    calibrator, _ = fit("beta")
    calibrator.save(tmp_path)
    logits, _, _ = sample(30, 3)
    assert torch.equal(type(calibrator).load(tmp_path).transform(logits), calibrator.transform(logits))
