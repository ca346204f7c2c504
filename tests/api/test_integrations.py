"""calbench's metrics inside scikit-learn, torchmetrics and Lightning."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics import evaluate
from calbench.integrations.sklearn import scorer


def sample(rows=300, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 2
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize(("metric", "sign"), [("ece", -1), ("nll", -1), ("accuracy", 1), ("signed-gap", None)])
def test_a_scorer_gives_the_metric_so_that_greater_is_better(metric, sign):
    inputs, labels = sample()
    names = np.array(["a", "b", "c"])[labels]
    model = LogisticRegression().fit(inputs, names)
    value = evaluate(probabilities=model.predict_proba(inputs), labels=labels, metrics=[metric])[metric]
    found = scorer(metric)(model, inputs, names)
    assert found == pytest.approx(-abs(value) if sign is None else sign * value)


def test_a_scorer_works_in_cross_validation_and_refuses_what_it_does_not_know():
    inputs, labels = sample()
    assert (cross_val_score(LogisticRegression(), inputs, labels, scoring=scorer("nll"), cv=3) < 0).all()
    with pytest.raises(InputError, match="did you mean"):
        scorer("eec")
    with pytest.raises(ValueError, match="not among the classes"):
        scorer("ece")(LogisticRegression().fit(inputs, labels), inputs, labels + 1)


def test_a_torchmetrics_metric_does_not_depend_on_the_batches():
    pytest.importorskip("torchmetrics")
    from torchmetrics import MetricCollection

    from calbench.integrations.torchmetrics import CalibrationMetric

    logits, labels = map(torch.from_numpy, sample())
    metrics = MetricCollection({"ece": CalibrationMetric("ece"), "nll": CalibrationMetric("nll", bins=10)})
    for rows in torch.arange(300).split(64):
        metrics.update(logits[rows], labels[rows])
    expected = evaluate(logits=logits, labels=labels, metrics=["ece", "nll"])
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(expected)
    metrics.reset()
    metrics.update(logits[:50], labels[:50])
    assert float(metrics.compute()["ece"]) == pytest.approx(
        evaluate(logits=logits[:50], labels=labels[:50], metrics=["ece"])["ece"]
    )
    of_probabilities = CalibrationMetric("ece", probabilities=True)
    of_probabilities.update(logits.softmax(1), labels)
    assert float(of_probabilities.compute()) == pytest.approx(expected["ece"])
    assert CalibrationMetric("accuracy").higher_is_better
    assert CalibrationMetric("ece").higher_is_better is False
    with pytest.raises(InputError, match="did you mean"):
        CalibrationMetric("eec")


class Recorder:
    """What a callback needs of a Lightning module."""

    def __init__(self):
        self.logged = {}

    def log_dict(self, values, **options):
        self.logged |= values


def lightning():
    try:
        import lightning.pytorch as package
    except ImportError:
        package = pytest.importorskip("pytorch_lightning")
    return package


def test_the_lightning_callback_logs_the_metrics_of_the_whole_epoch():
    lightning()
    from calbench.integrations.lightning import CalibrationCallback

    logits, labels = map(torch.from_numpy, sample())
    callback, module = CalibrationCallback(["ece", "nll"]), Recorder()
    for _ in range(2):  # the second epoch forgets the first
        callback.on_validation_epoch_start(None, module)
        for index, rows in enumerate(torch.arange(300).split(64)):
            outputs = {"logits": logits[rows], "labels": labels[rows]}
            callback.on_validation_batch_end(None, module, outputs, None, index)
        callback.on_validation_epoch_end(None, module)
    expected = evaluate(logits=logits, labels=labels, metrics=["ece", "nll"])
    assert module.logged == {f"val/{name}": pytest.approx(value) for name, value in expected.items()}
    with pytest.raises(InputError, match="let the step return a dict"):
        callback.on_test_batch_end(None, module, torch.tensor(0.5), (logits, labels), 0)


def test_the_lightning_callback_works_in_a_trainer(tmp_path):
    package = lightning()
    from calbench.integrations.lightning import CalibrationCallback

    logits, labels = map(torch.from_numpy, sample(rows=96))

    class Identity(package.LightningModule):
        def validation_step(self, batch, index):
            return {"logits": batch[0]}

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(logits, labels), batch_size=40)
    trainer = package.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[CalibrationCallback(["ece"])],
    )  # fmt: skip
    trainer.validate(Identity(), loader, verbose=False)
    expected = evaluate(logits=logits, labels=labels, metrics=["ece"])["ece"]
    assert float(trainer.callback_metrics["val/ece"]) == pytest.approx(expected, rel=1e-5)
