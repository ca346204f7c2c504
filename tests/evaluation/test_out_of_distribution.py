import torch

from calbench.benchmark.config.protocol import make_protocol
from calbench.benchmark.evaluation.entries import evaluate_entry
from calbench.benchmark.metrics import evaluate_ood
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions


def part(scale, rows=60):
    generator = torch.Generator().manual_seed(int(scale * 10))
    logits = scale * torch.randn(rows, 4, generator=generator)
    return SplitPredictions(logits, torch.randint(4, (rows,), generator=generator))


def test_a_foreign_split_gives_detection_metrics_and_nothing_that_needs_labels():
    parts = {"calibration": part(2), "test": part(3), "ood-other": part(1)}
    predictions = Predictions({("last", name): value for name, value in parts.items()})
    rows = evaluate_entry(predictions, (), make_protocol({"name": "clean", "bootstrap": 0})).rows
    found = {row["metric"]: row["value"] for row in rows if row["split"] == "ood-other"}
    assert found == evaluate_ood(logits=parts["test"].logits, ood_logits=parts["ood-other"].logits)
    assert found["auroc-max-softmax"] > 60
