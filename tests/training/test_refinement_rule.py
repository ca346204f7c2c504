import torch
from torch import nn

from calbench.benchmark.metrics import evaluate
from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.benchmark.training.checkpoints import Checkpoints
from calbench.benchmark.training.following import calibration_metrics
from calbench.methods import registry


def test_the_refinement_rule_keeps_the_epoch_that_is_best_after_a_temperature():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(2000, 5, generator=generator)
    labels = torch.multinomial((3 * signal).softmax(1), 1, generator=generator).squeeze(1)
    noise = torch.randn(2000, 5, generator=generator)
    epochs = [2 * (signal + 0.6 * noise), 12 * signal, 3 * (signal + 0.3 * noise)]  # the second is best, but too sure
    rules, model = ("best-nll", "best-nll-refinement"), nn.Linear(1, 1)
    checkpoints, left = Checkpoints(rules), []
    for epoch, logits in enumerate(epochs, start=1):
        checkpoints.update(epoch, calibration_metrics(SplitPredictions(logits, labels), 15), model)
        scaled = registry.create("temperature-scaling").fit(logits, labels).transform(logits)
        left.append(evaluate(logits=scaled, labels=labels, metrics=["nll"])["nll"])
    assert checkpoints.epochs(3) == {"best-nll": 3, "best-nll-refinement": 2}
    assert left.index(min(left)) == 1
