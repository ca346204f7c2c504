"""What every calibrator promises to those who call it: shapes, types, determinism, options, refusals."""

import sys

import numpy as np
import pytest
import torch
from calibrator_fits import NEEDS_PACKAGE, extra, fitted, make, planted, shared
from fast_set import slowly
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from calbench.benchmark.core.errors import InputError
from calbench.methods import registry


def check_shapes_simplex_and_kind(calibrator, dtype):
    logits, _, features = planted(200, 4)
    result = calibrator.transform(logits.to(dtype), **extra(calibrator, features))
    assert isinstance(result, torch.Tensor)
    assert result.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    probabilities = calibrator.predict_proba(logits.to(dtype), **extra(calibrator, features))
    torch.testing.assert_close(probabilities.sum(1).double(), torch.ones(200, dtype=torch.float64), atol=1e-5, rtol=0)
    assert (calibrator.predict(logits, **extra(calibrator, features)) < 4).all()


def test_shapes_simplex_and_kind(any_name):
    check_shapes_simplex_and_kind(shared(any_name, 200, 4), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, *slowly(torch.float64, torch.bfloat16)])
def test_shapes_simplex_and_kind_of_another_type(name, dtype):
    logits, labels, features = planted(200, 4)
    check_shapes_simplex_and_kind(fitted(name, logits.to(dtype), labels, features), dtype)


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
