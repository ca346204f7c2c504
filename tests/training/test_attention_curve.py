"""The attention entropy over epochs: recorded if asked for, and without influence on anything else."""

import numpy as np
import pytest
import torch

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.benchmark.store.store import Store

RECORD = "training.attention_curve=true"


def test_entropy_is_recorded_and_changes_no_prediction(tiny, run, tmp_path):
    settings = ["backbones=['vit-micro(width=16, heads=2, depth=2)']", "keep=weights"]
    entries = ["cross-entropy"]
    plain = run(tiny, results_dir=tmp_path / "plain", settings=settings, entries=entries)
    recorded = run(tiny, results_dir=tmp_path / "recorded", settings=[*settings, RECORD], entries=entries)
    assert [c["key"] for c in recorded.run["cells"]] == [c["key"] for c in plain.run["cells"]]
    assert "attention-entropy-1" not in plain.curves[0]["epochs"][0]
    key = plain.run["cells"][0]["key"]
    first, second = (Store(tmp_path / folder).predictions(key) for folder in ("plain", "recorded"))
    for split in ("calibration", "test"):
        assert torch.equal(first["last", split].logits, second["last", split].logits)
    epochs = recorded.curves[0]["epochs"]
    assert len(epochs) == 2
    part = second["last", "calibration"]
    confidence, predicted = part.logits.double().softmax(1).max(1)
    gap = 100 * (confidence.mean() - (predicted == part.labels).double().mean()).item()
    assert epochs[-1]["signed-gap"] == pytest.approx(gap, abs=1e-4)
    entropies = [epochs[-1][f"attention-entropy-{block}"] for block in (1, 2)]
    np.testing.assert_allclose(entropies, eager_entropies(tiny, tmp_path / "recorded", settings), atol=1e-5)


def eager_entropies(tiny, folder, settings):
    """Entropy of softmax(q k / sqrt d) of every block over log N, written out, on all calibration images."""
    from calbench.benchmark.data.batches import EvalBatches
    from calbench.benchmark.data.splits import prepare_data
    from calbench.benchmark.training.devices import make_devices
    from calbench.benchmark.training.prediction import load_classifier

    suite = load_suite(tiny, settings=settings, entries=["cross-entropy"])
    cell = plan_suite(suite, RunOptions(results_dir=str(folder)))[0].cell
    devices = make_devices("cpu", "float32")
    network, data = load_classifier(cell, Store(folder), "last", devices), prepare_data(cell, RunOptions().data_root)
    queries = []
    for block in network.backbone.model.blocks:
        block.attn.qkv.register_forward_hook(lambda module, inputs, output: queries.append(output.double()))
    split = data.evaluated["calibration"]
    split = split.subset(torch.arange(min(256, len(split))))
    with torch.no_grad():
        for images, _ in EvalBatches(split, data.config, batch_size=512, device=devices.device):
            network(images)
    entropies = []
    for output in queries:
        q, k, _ = output.unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.mT / 8**0.5).softmax(-1)
        entropies.append((-(scores * scores.log()).sum(-1) / np.log(scores.shape[-1])).mean().item())
    return entropies


def test_a_network_without_attention_is_refused_before_anything_trains(tiny):
    with pytest.raises(InputError, match="no attention"):
        load_suite(tiny, settings=["backbones=[resnet50-32]", RECORD])
