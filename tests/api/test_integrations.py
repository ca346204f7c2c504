"""calbench's metrics inside scikit-learn, torchmetrics and Lightning."""

import copy
import os
import pickle
import re
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

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


def test_a_grid_search_takes_a_scorer_and_can_be_pickled():
    inputs, labels = sample()
    strengths = [1e-4, 1.0]
    scores = {"nll": scorer("nll"), "ece": scorer("ece", bins=10)}
    search = GridSearchCV(LogisticRegression(), {"C": strengths}, scoring=scores, refit="nll", cv=3).fit(inputs, labels)
    again = pickle.loads(pickle.dumps(search))
    assert again.best_params_ == {"C": 1.0}  # the labels follow the inputs, so that nearly no weights are worse
    assert again.scoring == scores
    assert again.score(inputs, labels) == scorer("nll")(search.best_estimator_, inputs, labels)


def in_two_processes(tmp_path, function):
    """Call `function` with the rank in each of two forked processes of one gloo group; what each returned."""

    def child(rank):
        try:
            torch.distributed.init_process_group(
                "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=rank, world_size=2
            )
            (tmp_path / f"{rank}.pickle").write_bytes(pickle.dumps(function(rank)))
            torch.distributed.destroy_process_group()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    children = [os.fork() or child(rank) for rank in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in children] == [0, 0]
    return [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]


PARTS = [slice(0, 130), slice(130, 300)]  # of unlike size, so that the mean of the parts' values is another value
forks = pytest.mark.skipif(
    not (hasattr(os, "fork") and torch.distributed.is_available()), reason="needs fork and torch.distributed"
)


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


@forks
def test_a_torchmetrics_metric_of_two_processes_is_that_of_all_samples(tmp_path):
    pytest.importorskip("torchmetrics")
    from calbench.integrations.torchmetrics import CalibrationMetric

    logits, labels = map(torch.from_numpy, sample())

    def both(rank):
        metric = CalibrationMetric("ece")
        for _ in range(2):  # the second time after a reset
            metric.reset()
            for rows in torch.arange(300)[PARTS[rank]].split(50):
                step = metric(logits[rows], labels[rows])  # forward: the value of this batch
                assert float(step) == pytest.approx(
                    evaluate(logits=logits[rows], labels=labels[rows], metrics=["ece"])["ece"]
                )
            together = float(metric.compute())
        return together, len(copy.deepcopy(metric).labels)  # its own batches are restored after the sync

    values, batches = zip(*in_two_processes(tmp_path, both), strict=True)
    assert values == pytest.approx([evaluate(logits=logits, labels=labels, metrics=["ece"])["ece"]] * 2)
    assert batches == (3, 4)


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


@pytest.mark.slow
@forks
@pytest.mark.parametrize("parts", [PARTS, (None, slice(None))], ids=["both", "one without a batch"])
def test_the_lightning_callback_of_two_processes_logs_the_metrics_of_all_samples(tmp_path, parts):
    lightning()
    from calbench.integrations.lightning import CalibrationCallback

    logits, labels = map(torch.from_numpy, sample())

    def both(rank):
        callback, module = CalibrationCallback(["ece"]), Recorder()
        rows = parts[rank]
        callback.on_test_epoch_start(None, module)
        if rows is not None:
            callback.on_test_batch_end(None, module, {"logits": logits[rows]}, (None, labels[rows]), 0)
        callback.on_test_epoch_end(None, module)
        return module.logged["test/ece"]

    expected = evaluate(logits=logits, labels=labels, metrics=["ece"])["ece"]
    assert in_two_processes(tmp_path, both) == pytest.approx([expected] * 2)


def trainer(package, tmp_path, *callbacks, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return package.Trainer(
        accelerator="cpu", devices=1, enable_model_summary=False, default_root_dir=tmp_path, callbacks=[*callbacks],
        **quiet, **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec")  # lightning's use of torch
def test_the_lightning_callback_logs_every_epoch_of_a_training(tmp_path):
    package = lightning()
    from calbench.integrations.lightning import CalibrationCallback

    inputs, labels = sample(rows=200)
    data = torch.utils.data.TensorDataset(torch.from_numpy(inputs).float(), torch.from_numpy(labels))
    training, validation = torch.utils.data.random_split(data, [120, 80], torch.Generator().manual_seed(0))

    class Toy(package.LightningModule):
        """A linear layer that keeps the logits of each validation."""

        def __init__(self):
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(3, 3), []

        def training_step(self, batch, index):
            return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

        def on_validation_epoch_start(self):
            self.seen.append([])

        def validation_step(self, batch, index):
            logits = self.layer(batch[0])
            self.seen[-1].append((logits, batch[1]))
            return {"logits": logits, "labels": batch[1]}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5)

    class Values(package.Callback):
        logged = ()

        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                self.logged = (*self.logged, {name: float(value) for name, value in trainer.callback_metrics.items()})

    toy, values = Toy(), Values()
    run = trainer(package, tmp_path, CalibrationCallback(["ece", "accuracy"], bins=10), values, max_epochs=2)
    loaders = [torch.utils.data.DataLoader(part, batch_size=32) for part in (training, validation)]
    run.fit(toy, *loaders)
    expected = [
        evaluate(
            **dict(zip(("logits", "labels"), map(torch.cat, zip(*epoch, strict=True)), strict=True)),
            metrics=["ece", "accuracy"], bins=10,
        )
        for epoch in toy.seen[1:]  # the first is Lightning's check that validation works
    ]  # fmt: skip
    assert len(expected) == 2
    assert expected[0]["ece"] != expected[1]["ece"]
    for logged, epoch in zip(values.logged, expected, strict=True):
        assert logged == {f"val/{name}": pytest.approx(value, rel=1e-5) for name, value in epoch.items()}


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec")  # lightning's use of torch
def test_the_lightning_callback_works_in_a_trainer(tmp_path):
    package = lightning()
    from calbench.integrations.lightning import CalibrationCallback

    logits, labels = map(torch.from_numpy, sample(rows=96))

    class Identity(package.LightningModule):
        def validation_step(self, batch, index):
            return {"logits": batch[0]}

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(logits, labels), batch_size=40)
    run = trainer(package, tmp_path, CalibrationCallback(["ece"]))
    run.validate(Identity(), loader, verbose=False)
    expected = evaluate(logits=logits, labels=labels, metrics=["ece"])["ece"]
    assert float(run.callback_metrics["val/ece"]) == pytest.approx(expected, rel=1e-5)


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    pytest.importorskip("torchmetrics")
    pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text("utf-8")
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        exec(compile(code, "integrations.md", "exec"), names)
    assert (names["negative_ece"] < 0).all()
    assert round(float(names["values"]["ece"]), 2) == 42.51
