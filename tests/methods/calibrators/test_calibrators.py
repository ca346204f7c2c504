import importlib
import sys
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from torch.nn import functional

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import option_defaults
from calbench.methods import registry

NAMES = [name for name in registry if registry[name].kind == "calibrator"]
NEEDS_PACKAGE = {name: registry[name].package for name in NAMES if hasattr(registry[name], "package")}


def has_package(name="structured-vector-scaling"):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # probmetrics' use of torch.jit
            importlib.import_module(NEEDS_PACKAGE[name])
    except ImportError:
        return False
    return True


TREES = ("catboost", "lightgbm", "xgboost")
"""Half a second a fit; `test_trees` has the fast tests of them."""


NETWORKS = ("ada-ts", "calattn-frozen", "group-calibration", "h-calibration", "parameterized-ts", "sats", "smart",
            "tempnet-posthoc")  # fmt: skip
"""A tenth of a second a fit: the fast set has them once."""


def swept(slow):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in NAMES]


def available(name):
    if name in NEEDS_PACKAGE and not has_package(name):
        pytest.skip(f"{NEEDS_PACKAGE[name]} is not installed")
    return name


@pytest.fixture(params=swept(TREES))
def any_name(request):
    return available(request.param)


@pytest.fixture(params=swept((*TREES, *NETWORKS)))
def name(request):
    return available(request.param)


def make(name, steps=10, **options):
    """A calibrator of few steps: what is tested holds after any number of them, or `steps` are given."""
    if "steps" in option_defaults(registry[name]):
        options = {"steps": steps, **options}
    return registry.create(name, **options)


def planted(rows, classes, temperature=2.5, seed=0, scale=2.0):
    """Logits whose labels come from softmax(z / temperature), and features."""
    generator = torch.Generator().manual_seed(seed)
    true = scale * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    return true * temperature, labels, torch.randn(rows, 6, generator=generator)


def extra(calibrator, features):
    return {"features": features} if "features" in calibrator.needs else {}


def fitted(name, logits, labels, features, **options):
    calibrator = make(name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrator.fit(logits, labels, **extra(calibrator, features))


@cache
def shared(name, rows, classes):
    """A calibrator fitted on `planted`, for tests that do not change it."""
    return fitted(name, *planted(rows, classes))


def check_output(calibrator, logits, features):
    result = calibrator.transform(logits, **extra(calibrator, features))
    assert result.shape == logits.shape
    assert torch.isfinite(result).all()
    probabilities = calibrator.predict_proba(logits, **extra(calibrator, features))
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(logits)), atol=1e-5, rtol=0)
    return result


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, *(pytest.param(d, marks=pytest.mark.slow) for d in (torch.float64, torch.bfloat16))],
)
def test_shapes_simplex_and_kind(any_name, dtype):
    name = any_name
    logits, labels, features = planted(200, 4)
    calibrator = shared(name, 200, 4) if dtype is torch.float32 else fitted(name, logits.to(dtype), labels, features)
    result = calibrator.transform(logits.to(dtype), **extra(calibrator, features))
    assert isinstance(result, torch.Tensor)
    assert result.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    probabilities = calibrator.predict_proba(logits.to(dtype), **extra(calibrator, features))
    torch.testing.assert_close(probabilities.sum(1).double(), torch.ones(200, dtype=torch.float64), atol=1e-5, rtol=0)
    assert (calibrator.predict(logits, **extra(calibrator, features)) < 4).all()


def test_numpy_gives_numpy_and_the_same_numbers(name):
    logits, labels, features = planted(200, 3)
    ours = shared(name, 200, 3)
    theirs = fitted(name, logits.numpy(), labels.numpy(), features.numpy())
    result = theirs.predict_proba(logits.numpy(), **extra(theirs, features.numpy()))
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, ours.predict_proba(logits, **extra(ours, features)).numpy())


def test_fits_are_deterministic_and_leave_the_global_random_state(name):
    logits, labels, features = planted(200, 4)
    first = shared(name, 200, 4)
    torch.rand(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (the global state is what is tested)
    second = fitted(name, logits, labels, features)
    assert torch.equal(
        first.transform(logits, **extra(first, features)), second.transform(logits, **extra(second, features))
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_argmax_is_kept_where_declared(name):
    if not registry[name].keeps_accuracy:
        pytest.skip("does not declare it")
    logits, labels, features = planted(400, 5)
    calibrator = fitted(name, logits, labels, features)
    other, _, other_features = planted(400, 5, seed=1)
    result = calibrator.transform(other, **extra(calibrator, other_features))
    assert torch.equal(result.argmax(1), other.argmax(1))


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
    "enir": "netcal's weights prefer the model that follows the noise of each sample",
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
@pytest.mark.parametrize("classes", [100, 1000])
def test_many_classes(name, classes):
    logits, labels, features = planted(classes + 100, classes, scale=3.0)
    labels = labels % (4 if name in FEW else 40)  # half a second and more for every class that has samples
    given = {"off_diagonal": 1e5, "intercept": 1e5} if name == "dirichlet" else {}  # not chosen among nine
    check_output(fitted(name, logits, labels, features, **given), logits, features)


def test_options_are_those_of_scikit_learn(name):
    calibrator = make(name)
    copy = clone(calibrator)
    assert copy is not calibrator
    assert copy.get_params() == calibrator.get_params() == calibrator.options()
    assert calibrator.set_params(**calibrator.get_params()) is calibrator
    with pytest.raises(InputError, match="unknown option"):
        calibrator.set_params(no_such_option=1)


def test_unfitted_and_misfitted_use_is_refused(name):
    logits, labels, features = planted(200, 3)
    with pytest.raises(NotFittedError, match="is not fitted"):
        make(name).transform(logits, **extra(make(name), features))
    calibrator = shared(name, 200, 3)
    with pytest.raises(ValueError, match="fitted on 3 classes, got logits of 4"):
        calibrator.transform(torch.zeros(2, 4), **extra(calibrator, features[:2]))
    with pytest.raises(ValueError, match="row 5 contains NaN"):
        fitted(name, logits.index_fill(0, torch.tensor([5]), float("nan")), labels, features)
    with pytest.raises(ValueError, match=r"row 0 is 3, outside 0\.\.2"):
        fitted(name, logits, labels.index_fill(0, torch.tensor([0]), 3), features)


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


def test_missing_features_are_asked_for():
    logits, labels, _ = planted(50, 3)
    with pytest.raises(InputError, match="needs features"):
        registry.create("calattn-frozen").fit(logits, labels)
    with pytest.raises(ValueError, match="does not fit 50 rows"):
        registry.create("calattn-frozen").fit(logits, labels, features=torch.ones(49, 3))


@pytest.mark.parametrize("name", sorted(NEEDS_PACKAGE))
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, NEEDS_PACKAGE[name], None)
    package = NEEDS_PACKAGE[name].partition(".")[0]
    for module in [package, *(one for one in sys.modules if one.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    logits, labels, _ = planted(50, 3)
    with pytest.raises(InputError, match="needs the extra '(probmetrics|trees)'"):
        registry.create(name).fit(logits, labels)
