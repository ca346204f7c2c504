"""Tree ensembles: the arrays give what the libraries predict, and the settings are those of probmetrics."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedKFold

from calbench.methods import registry
from calbench.methods.calibrators.nonparametric._trees import at_most, below, leaf_values

NAMES = ["catboost", "lightgbm", "xgboost"]


def planted(rows=400, classes=4):
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    return 3 * true, labels


def last_model(library, monkeypatch):
    """The models that a library fits from now on."""
    seen = []
    if library.__name__ == "catboost":
        fit = library.CatBoostClassifier.fit
        monkeypatch.setattr(
            library.CatBoostClassifier, "fit", lambda self, *a, **k: seen.append(self) or fit(self, *a, **k)
        )
    else:
        train = library.train
        monkeypatch.setattr(library, "train", lambda *a, **k: seen.append(train(*a, **k)) or seen[-1])
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_the_arrays_predict_as_the_library(name, monkeypatch):
    library = pytest.importorskip(name)
    logits, labels = planted()
    x, y = logits.log_softmax(1).numpy(), labels.numpy()
    models = last_model(library, monkeypatch)
    trees = registry.create(name).fit_fold((x[:320], y[:320]), (x[320:], y[320:]), 4)
    values = leaf_values(torch.from_numpy(x), *(torch.from_numpy(part) for part in trees[:3])).double()
    scores = torch.from_numpy(np.broadcast_to(trees.base, (400, 4)).astype(np.float64))
    scores = scores.clone().index_add_(1, torch.from_numpy(trees.classes), values)
    if name == "catboost":
        theirs = models[0].predict_proba(x)
    else:
        model = models[0]
        best = {"iteration_range": (0, model.best_iteration + 1)}
        theirs = model.predict(x) if name == "lightgbm" else model.predict(library.DMatrix(x), **best)
    np.testing.assert_allclose(scores.softmax(1).numpy(), theirs, atol=2e-6)
    assert len(trees.features) % 4 == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_folds_are_averaged(name):
    pytest.importorskip(name)
    logits, labels = planted(200)
    fitted = registry.create(name).fit(logits, labels)
    x, y = logits.double().log_softmax(1).float().numpy(), labels.numpy()
    total = 0
    for train, held_out in StratifiedKFold(5, shuffle=True, random_state=42).split(x, y):
        trees = fitted.fit_fold((x[train], y[train]), (x[held_out], y[held_out]), 4)
        values = leaf_values(torch.from_numpy(x), *(torch.from_numpy(part) for part in trees[:3]))
        base = torch.from_numpy(np.broadcast_to(trees.base, (200, 4)).astype(np.float32)).clone()
        total = total + base.index_add_(1, torch.from_numpy(trees.classes), values).softmax(1) / 5
    torch.testing.assert_close(fitted.predict_proba(logits), total, atol=1e-5, rtol=1e-4)


def test_xgboost_is_that_of_probmetrics_but_for_rounding():
    """It takes the logarithm of rounded probabilities: the last bits decide between equally good splits."""
    pytest.importorskip("xgboost")
    trees = pytest.importorskip("probmetrics.calibrators.trees")
    logits, labels = planted()
    theirs = trees.XGBoostCalibrator()
    theirs.fit(logits.double().softmax(1).numpy(), labels.numpy())
    ours = registry.create("xgboost").fit(logits, labels).predict_proba(logits)
    theirs = torch.from_numpy(theirs.predict_proba(logits.double().softmax(1).numpy()))
    losses = [-float(p.log().gather(1, labels[:, None]).mean()) for p in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], abs=0.03)
    assert float((ours - theirs).abs().mean()) < 0.02


@pytest.mark.parametrize("value", [0.1, -0.3, 1e-20, 2.0, 1.00000001])
def test_thresholds_keep_the_side_of_every_float32(value):
    near = np.float32(value)
    for x in (near, np.nextafter(near, np.float32(-9)), np.nextafter(near, np.float32(9))):
        assert (float(x) > value) == (x > np.float32(at_most(value)))
        assert (x >= near) == (x > np.float32(below(float(near))))
