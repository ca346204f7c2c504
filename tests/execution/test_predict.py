"""A network judged without training: `calbench predict`, and suites with no epochs."""

import json

import pytest
import safetensors.torch
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calbench.benchmark.backbones import create
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution import predict as predicting
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.posthoc import compare_calibrators, parse_chain
from calbench.benchmark.execution.predict import predict_network
from calbench.benchmark.execution.runner import run_suite
from calbench.benchmark.predictions.files import read_pair
from calbench.datasets import registry as datasets


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of timm's smallest ViT for ten classes of grey images, written as a user would."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=10, in_chans=1, img_size=32)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(model.state_dict(), path)
    return path, model.eval()


@pytest.fixture
def network(checkpoint):
    return create("timm:test_vit", checkpoint=str(checkpoint[0]), image_size=32)


def test_one_forward_pass_gives_a_file_that_calibrate_reads(network, tmp_path):
    written = predict_network(network, datasets.create("digits"), tmp_path / "p.safetensors", device="cpu")
    tensors = load_file(written)
    assert tensors["calibration.logits"].shape == (270, 10)
    assert tensors["test.logits"].shape == (269, 10)
    assert tensors["test.features"].shape == (269, 64)
    with safe_open(written, "pt") as file:
        record = json.loads(file.metadata()["calbench"])
    assert record["samples"] == {"calibration": 270, "test": 269}
    assert str(tmp_path.parent) not in json.dumps(record)
    pair = read_pair(written)
    results = compare_calibrators(pair, [parse_chain("temperature-scaling")], protocol=Protocol(bootstrap=0), name="x")
    nll = results.table[results.table["metric"] == "nll"].set_index("entry")["value"]
    assert nll["temperature-scaling"] < nll["uncalibrated"]


def test_the_logits_are_those_of_the_network_itself(network, checkpoint, tmp_path):
    dataset = datasets.create("digits")
    tensors = load_file(predict_network(network, dataset, tmp_path / "p.safetensors", device="cpu"))
    logits = torch.cat([tensors["calibration.logits"], tensors["test.logits"]])
    config = network.data_config(dataset)
    images = dataset.load(tmp_path).test.images.float() / 255
    images = torch.nn.functional.interpolate(images, (32, 32), mode=config.interpolation, antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (config.mean, config.std))
    with torch.inference_mode():
        expected = checkpoint[1]((images - mean) / std)
    order, other = logits[:, 0].sort().values, expected[:, 0].sort().values
    torch.testing.assert_close(order, other, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_an_interrupted_prediction_goes_on_where_it_stopped(network, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "SHARD", 100)
    dataset, output = datasets.create("digits"), tmp_path / "p.safetensors"
    whole = load_file(predict_network(network, dataset, tmp_path / "whole.safetensors", device="cpu"))
    calls = []
    original = predicting.predict

    def interrupted(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(predicting, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_network(network, dataset, output, device="cpu")
    assert not output.exists()
    seen = []
    monkeypatch.setattr(predicting, "predict", original)
    predict_network(network, dataset, output, device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (200, 539)
    again = load_file(output)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.safetensors", "whole.safetensors"]


def test_another_ending_is_refused(network, tmp_path):
    with pytest.raises(InputError, match=r"p\.npz: predictions are written as \.safetensors"):
        predict_network(network, datasets.create("digits"), tmp_path / "p.npz")


SUITE = """\
datasets: [digits]
backbones: ["timm:test_vit(checkpoint={path}, image_size=32)"]
entries: [cross-entropy, temperature-scaling, vector-scaling]
protocol: {{name: clean, calibration_fraction: 0.5, bootstrap: 20}}
training: {{epochs: 0}}
"""


@pytest.mark.slow
def test_a_suite_without_epochs_judges_a_network_as_it_comes(checkpoint, tmp_path):
    path = tmp_path / "as-it-comes.yaml"
    path.write_text(SUITE.format(path=checkpoint[0]))
    results = run_suite(load_suite(str(path)), RunOptions(results_dir=str(tmp_path / "r"), jobs=1))
    assert set(results.table["entry"]) == {"cross-entropy", "temperature-scaling", "vector-scaling"}
    assert any("calibration split 50 % of the test images" in line for line in results.run["protocol_text"])
    accuracy = results.table[results.table["metric"] == "accuracy"].set_index("entry")["value"]
    assert accuracy["cross-entropy"] == accuracy["temperature-scaling"]


def test_training_time_entries_are_refused_without_epochs(checkpoint, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SUITE.format(path=checkpoint[0]).replace("vector-scaling", "calattn"))
    with pytest.raises(InputError, match=r"line 3: 'calattn' acts in training, and training\.epochs is 0"):
        load_suite(str(path))


def test_the_command_predicts_and_says_how_fast(checkpoint, calbench, tmp_path):
    options = ["--checkpoint", checkpoint[0], "--dataset", "digits", "-o", "out.safetensors", "--device", "cpu"]
    status, _, messages = calbench("predict", "timm:test_vit(image_size=32)", *options)
    assert status == 0
    assert "out.safetensors: 539 images, " in messages
    assert safetensors.torch.load_file(tmp_path / "out.safetensors")["test.logits"].shape == (269, 10)
    status, _, messages = calbench("predict", "test_vitt", "--dataset", "digits")
    assert (status, "did you mean" in messages) == (2, True)


@pytest.fixture(scope="module")
def other_classes(tmp_path_factory):
    """As `checkpoint`, with seven classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "seven.safetensors"
    save_file(timm.create_model("test_vit", num_classes=7, in_chans=1, img_size=32).state_dict(), path)
    return path


@pytest.mark.slow
def test_a_replaced_classifier_is_said(checkpoint, other_classes, calbench):
    options = ["--dataset", "digits", "-o", "out.safetensors", "--device", "cpu"]
    for path, replaced in ((checkpoint[0], False), (other_classes, True)):
        status, _, messages = calbench("predict", "timm:test_vit(image_size=32)", "--checkpoint", path, *options)
        assert status == 0
        assert (
            "replaced by a random one, since its weights are not for the 10 classes of digits" in messages
        ) is replaced
    status, _, messages = calbench("predict", "timm:test_vit(image_size=32)", *options)
    assert "has no trained weights: its predictions are random" in messages


@pytest.mark.slow
def test_a_suite_without_epochs_keeps_the_classifier_or_says_that_it_is_new(
    checkpoint, other_classes, network, tmp_path
):
    tensors = load_file(predict_network(network, datasets.create("digits"), tmp_path / "p.safetensors", device="cpu"))
    right = (tensors["test.logits"].argmax(1) == tensors["test.labels"]).double().mean().item()
    for source, replaced in ((checkpoint[0], False), (other_classes, True)):
        path = tmp_path / f"{source.stem}.yaml"
        path.write_text(SUITE.format(path=source).replace(", temperature-scaling, vector-scaling", ""))
        results = run_suite(load_suite(str(path)), RunOptions(results_dir=str(tmp_path / source.stem), jobs=1))
        assert any("replaced by a random one" in note for note in results.run.notes) is replaced
        if not replaced:
            accuracy = results.table[results.table["metric"] == "accuracy"]["value"].item()
            assert accuracy == pytest.approx(100 * right)
