"""Every calibrator on data that is hard, or whose miscalibration is known."""

import numpy as np
import pytest
import torch
from calibrator_fits import TREES, check_output, extra, fitted, planted
from sklearn.exceptions import ConvergenceWarning
from torch.nn import functional

from calbench.benchmark.core.errors import InputError
from calbench.methods import registry

ONLY_SOFTENS = "it can lower confidences and never raise them"
UNRELATED = "its map acts through the features, which here have nothing to do with the logits"


def test_better_than_identity_on_known_miscalibration(name):
    if name == "feature-clipping":
        pytest.skip(UNRELATED)
    logits, labels, features = planted(1500, 4, temperature=4.0)
    calibrator = fitted(name, logits, labels, features, steps=60)
    test, test_labels, test_features = planted(1500, 4, temperature=4.0, seed=1)
    result = calibrator.transform(test, **extra(calibrator, test_features))
    assert functional.cross_entropy(result, test_labels) < functional.cross_entropy(test, test_labels) - 0.1


NOT_FOR_UNDERCONFIDENCE = {
    "feature-clipping": UNRELATED,
    "laplace": ONLY_SOFTENS,
    "logit-clipping": ONLY_SOFTENS,
    "tempnet-posthoc": "its loss does not look at the labels: see the next test",
    "iso-entropy": "two classes leave every sample the same confidence",
}


def test_better_than_identity_on_known_underconfidence(name):
    if name in NOT_FOR_UNDERCONFIDENCE:
        pytest.skip(NOT_FOR_UNDERCONFIDENCE[name])
    logits, labels, features = planted(1500, 2, temperature=0.4)
    calibrator = fitted(name, logits, labels, features, steps=60)
    test, test_labels, test_features = planted(1500, 2, temperature=0.4, seed=1)
    result = calibrator.transform(test, **extra(calibrator, test_features))
    assert functional.cross_entropy(result, test_labels) < functional.cross_entropy(test, test_labels) - 0.01


@pytest.mark.slow
def test_tempnet_posthoc_warns_where_it_harms():
    logits, labels, _ = planted(1500, 2, temperature=1.0)
    with pytest.warns(UserWarning, match="the NLL of its own calibration split rose"):
        registry.create("tempnet-posthoc", steps=300).fit(logits, labels)


def test_a_class_missing_from_the_calibration_split(name):
    logits, labels, features = planted(300, 4)
    kept = labels != 2
    calibrator = fitted(name, logits[kept], labels[kept], features[kept])
    check_output(calibrator, logits, features)


def test_two_classes(name):
    logits, labels, features = planted(300, 2)
    check_output(fitted(name, logits, labels, features), logits, features)


@pytest.mark.parametrize("magnitude", [pytest.param(1e-3, marks=pytest.mark.slow), 1e4])
def test_any_magnitude_of_logits(name, magnitude):
    logits, labels, features = planted(600, 4, temperature=1.0)
    calibrator = fitted(name, logits * magnitude, labels, features, steps=60)
    result = check_output(calibrator, logits * magnitude, features)
    if name == "logit-clipping" and magnitude < 1:
        pytest.skip(ONLY_SOFTENS)
    if magnitude == 1e4 or registry[name].keeps_accuracy:
        before = functional.cross_entropy(logits * magnitude, labels)
        assert functional.cross_entropy(result, labels) < before


def test_fewer_samples_than_classes(name):
    logits, labels, features = planted(20, 30)
    if "more-samples-than-classes" in registry[name].needs:
        with pytest.raises(InputError, match=f"{name} needs more samples than classes: got 20 samples and 30 classes"):
            fitted(name, logits, labels, features)
    else:
        check_output(fitted(name, logits, labels, features), logits, features)


@pytest.mark.parametrize("logits", [torch.zeros(60, 3), torch.tensor([2.0, 0.0, -1.0]).expand(60, 3).contiguous()])
def test_identical_logits(name, logits):
    labels = torch.arange(60) % 3
    features = torch.ones(60, 4)
    check_output(fitted(name, logits, labels, features), logits, features)


NOT_FOR_SEPARABLE = {
    "feature-clipping": UNRELATED,
    "laplace": ONLY_SOFTENS,
    "logit-clipping": ONLY_SOFTENS,
    "venn-abers": "a class of n samples is given n / (n + 1) at most, however clear they are: that is its guarantee",
}


def test_separable_data(name):
    if name in NOT_FOR_SEPARABLE:
        pytest.skip(NOT_FOR_SEPARABLE[name])
    labels = torch.arange(80) % 4
    logits = 3 * functional.one_hot(labels, 4).float() + 0.1 * torch.randn(
        80, 4, generator=torch.Generator().manual_seed(0)
    )
    features = torch.ones(80, 4)
    result = check_output(fitted(name, logits, labels, features, steps=60), logits, features)
    assert functional.cross_entropy(result, labels) < functional.cross_entropy(logits, labels)


def test_one_row(name):
    logits, features = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)
    if "more-samples-than-classes" in registry[name].needs:
        pytest.skip("refused, tested above")
    check_output(fitted(name, logits, torch.tensor([0]), features), logits, features)


FEW = ("bbq", *TREES)


@pytest.mark.slow
def test_many_classes(name):
    classes = 1000
    logits, labels, features = planted(classes + 100, classes, scale=3.0)
    labels = labels % (4 if name in FEW else 40)  # half a second and more for every class that has samples
    given = {"off_diagonal": 1e5, "intercept": 1e5} if name == "dirichlet" else {}  # not chosen among nine
    check_output(fitted(name, logits, labels, features, **given), logits, features)


def test_bounded_temperature_is_warned_of():
    labels = torch.arange(80) % 4
    logits = 2 * functional.one_hot(labels, 4).float()
    with pytest.warns(ConvergenceWarning, match="separates the calibration split: T is bounded"):
        sharp = registry.create("temperature-scaling").fit(logits, labels)
    assert 0 < sharp.temperature_ < 0.01
    with pytest.warns(ConvergenceWarning, match="no better than chance: T is bounded"):
        flat = registry.create("temperature-scaling").fit(-logits, labels)
    assert np.isfinite(flat.temperature_)
    assert flat.temperature_ > 10
    with pytest.warns(ConvergenceWarning, match="constant"):
        assert registry.create("temperature-scaling").fit(torch.ones(8, 4), labels[:8]).temperature_ == 1.0
