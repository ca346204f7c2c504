"""Calibrators as scikit-learn estimators."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from calbench.methods import Calibrator, registry

NAMES = np.array(["ant", "bee", "cat"])


def sample(rows=240, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, classes)) * 2
    return 2.5 * true, (true + rng.gumbel(size=true.shape)).argmax(1)


def make(name="temperature-scaling", **options):
    return registry.create(name, **options)


def test_it_is_a_classifier_and_a_transformer():
    calibrator = make()
    assert is_classifier(calibrator)
    logits, labels = sample()
    np.testing.assert_array_equal(calibrator.fit_transform(logits, labels), calibrator.transform(logits))
    assert calibrator.n_features_in_ == 3
    np.testing.assert_array_equal(calibrator.classes_, [0, 1, 2])
    assert calibrator.score(logits, labels) == (logits.argmax(1) == labels).mean()
    weights = (labels == 1).astype(float)
    assert calibrator.score(logits, labels, weights) == (logits.argmax(1) == labels)[labels == 1].mean()


@pytest.mark.parametrize("name", ["temperature-scaling", "vector-scaling"])
def test_labels_may_be_names(name):
    logits, labels = sample()
    by_number, by_name = make(name).fit(logits, labels), make(name).fit(logits, NAMES[labels])
    np.testing.assert_array_equal(by_name.predict_proba(logits), by_number.predict_proba(logits))
    np.testing.assert_array_equal(by_name.classes_, NAMES)
    np.testing.assert_array_equal(by_name.predict(logits), NAMES[by_number.predict(logits)])
    assert by_name.score(logits, NAMES[labels]) == by_number.score(logits, labels)
    listed = make(name).fit(logits, NAMES[labels].tolist())
    np.testing.assert_array_equal(listed.classes_, NAMES)


def test_the_order_of_the_columns_may_be_given():
    logits, labels = sample()
    order = ["cat", "ant", "bee"]
    calibrator = make("vector-scaling").fit(logits, np.array(order)[labels], classes=order)
    np.testing.assert_array_equal(
        calibrator.predict_proba(logits), make("vector-scaling").fit(logits, labels).predict_proba(logits)
    )
    assert calibrator.predict(logits[:1])[0] == order[logits[0].argmax()]
    with pytest.raises(ValueError, match=r"2 names for 3 columns of logits; pass classes="):
        make().fit(logits, np.where(labels == 0, "ant", "bee"))
    with pytest.raises(ValueError, match="row 0 is 'dog', not one of the 3 classes"):
        make().fit(logits, ["dog"] * len(labels), classes=order)


def test_numbers_other_than_columns_are_matched_in_order():
    logits, labels = sample(classes=2)
    for names in ([-1, 1], [1, 2]):
        calibrator = make().fit(logits, np.array(names)[labels])
        assert calibrator.temperature_ == make().fit(logits, labels).temperature_
        assert set(calibrator.predict(logits)) == set(names)
    with pytest.raises(ValueError, match=r"row 0 .*, outside 0\.\.1"):
        make().fit(logits, np.r_[2, labels[1:]])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_one_column_of_binary_scores(kind):
    logits, labels = sample(classes=2)
    margin = logits[:, 1:] - logits[:, :1]
    calibrator = make("bias-corrected-ts").fit(kind(margin), kind(labels))
    both = make("bias-corrected-ts").fit(np.c_[np.zeros_like(margin), margin], labels)
    found = calibrator.predict_proba(kind(margin))
    assert type(found) is type(kind(margin))
    np.testing.assert_allclose(np.asarray(found), both.predict_proba(np.c_[np.zeros_like(margin), margin]))
    assert calibrator.n_features_in_ == 1
    with pytest.raises(ValueError, match="expecting 1 features"):
        calibrator.transform(logits)


def test_missing_and_unknown_arguments_are_type_errors():
    logits, labels = sample()
    with pytest.raises(TypeError, match="temperature-scaling: missing a required argument: 'labels'"):
        make().fit(logits)
    with pytest.raises(TypeError, match="unexpected keyword argument 'label'"):
        make().fit(logits, labels, label=labels)
    with pytest.raises(TypeError, match="missing a required argument: 'logits'"):
        make().fit(logits, labels).transform()
    assert make().fit(X=logits, y=labels).temperature_ == make().fit(logits, labels).temperature_


def test_data_frames_keep_their_column_names():
    logits, labels = sample()
    frame = pd.DataFrame(logits, columns=NAMES)
    calibrator = make().fit(frame, pd.Series(NAMES[labels]))
    assert list(calibrator.feature_names_in_) == list(NAMES)
    np.testing.assert_array_equal(calibrator.transform(frame), calibrator.transform(logits))
    with pytest.raises(ValueError, match="feature names should match"):
        calibrator.transform(frame[NAMES[::-1]])


def test_cross_validation_pipelines_and_grid_search():
    logits, labels = sample()
    probabilities = cross_val_predict(make(), logits, NAMES[labels], cv=3, method="predict_proba")
    assert probabilities.shape == logits.shape
    assert (cross_val_score(make("vector-scaling"), logits, labels, scoring="neg_log_loss", cv=3) > -1.2).all()
    search = GridSearchCV(make(), {"criterion": ["nll", "ece"]}, scoring="neg_log_loss", cv=3).fit(logits, labels)
    assert search.best_params_["criterion"] in ("nll", "ece")
    model = LogisticRegression().fit(logits, labels)
    chain = make_pipeline(FunctionTransformer(model.decision_function), make("temperature-scaling"), make("beta"))
    chain.fit(logits, NAMES[labels])
    assert chain.predict_proba(logits).sum(1) == pytest.approx(1)
    assert chain.score(logits, NAMES[labels]) > 0.6


def test_a_saved_calibrator_keeps_its_classes(tmp_path):
    logits, labels = sample(classes=2)
    calibrator = make().fit(logits[:, 1:] - logits[:, :1], np.array(["no", "yes"])[labels])
    calibrator.save(tmp_path)
    loaded = Calibrator.load(tmp_path)
    margin = logits[:, 1:] - logits[:, :1]
    np.testing.assert_array_equal(loaded.predict(margin), calibrator.predict(margin))
    assert set(loaded.classes_) == {"no", "yes"}


COLUMNS = "the columns of the logits are the classes; the check has other numbers of columns and classes"
EXCEPTIONS = {
    "check_fit_score_takes_y": "the second argument of fit is named labels; y is accepted as a keyword",
    "check_do_not_raise_errors_in_init_or_set_params": "options are checked when they are set, not when they are used",
    "check_estimators_overwrite_params": COLUMNS,
    "check_estimators_fit_returns_self": COLUMNS,
    "check_readonly_memmap_input": COLUMNS,
    "check_classifiers_classes": COLUMNS,
    "check_classifiers_train": COLUMNS,
    "check_sample_weight_equivalence_on_dense_data": "separable data, where the check asks for more than 1e-10 nats",
    "check_classifiers_one_label": "one class among several columns: nothing says that the others cannot occur",
    "check_supervised_y_2d": "a column of labels is taken as labels without a warning",
}
"""Checks of scikit-learn that a calibrator of logits cannot pass, and why."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["temperature-scaling", "vector-scaling", "isotonic"])
def test_scikit_learns_own_checks_pass_but_for_the_exceptions(name):
    results = check_estimator(make(name), on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not set(failed) - set(EXCEPTIONS), failed
    assert sum(result["status"] == "passed" for result in results) >= 50
