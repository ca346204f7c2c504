"""Fitted calibrators in files: saved and loaded again, refused where hostile, exported to torch and ONNX."""

import contextlib
import io
import json
import warnings

import numpy as np
import pytest
import torch
from calibrator_fits import one_per_family
from fast_set import fast_only
from planted_logits import data
from safetensors.torch import load_file, save_file

from calbench.benchmark.cli.main import main
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.export import export, load_chain
from calbench.methods import Calibrator, registry

NAMES = [name for name in registry if registry[name].kind == "calibrator"]


def fitted(name):
    if hasattr(registry[name], "package"):
        pytest.importorskip(registry[name].package)
    logits, labels, features = data()
    calibrator = registry.create(name, **({"steps": 30} if hasattr(registry[name], "steps") else {}))
    extra = {"features": features} if "features" in calibrator.needs else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a fit may warn of has tests of its own
        return calibrator.fit(logits, labels, **extra), logits, extra


@pytest.mark.parametrize("name", fast_only(one_per_family(), NAMES))
def test_save_and_load_give_the_same_map(tmp_path, name):
    calibrator, logits, extra = fitted(name)
    calibrator.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibrator.json", "calibrator.safetensors"]
    read = Calibrator.load(tmp_path)
    assert type(read) is type(calibrator)
    assert read.options() == calibrator.options()
    assert torch.equal(read.transform(logits, **extra), calibrator.transform(logits, **extra))


def changed(record, **fields):
    return json.dumps({**record, **fields})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{", "not JSON"),
        (lambda r: "[" * 100000, "not JSON"),
        (lambda r: "[]", "not a calibrator of format 1"),
        (lambda r: changed(r, format=2), "not a calibrator of format 1"),
        (lambda r: changed(r, num_classes="4"), "wrong type"),
        (lambda r: changed(r, num_classes=10**12), "wrong type"),
        (lambda r: changed(r, calibrator={"name": "focal", "options": {}}), "not a calibrator"),
        (lambda r: changed(r, calibrator={"name": "os.system", "options": {}}), "unknown method"),
        (lambda r: changed(r, fitted={"__class__": 1}), "plain name"),
        (lambda r: changed(r, fitted={"transform": 1}), "plain name"),
        (lambda r: changed(r, fitted={"scale_": float("nan")}), "finite number"),
        (lambda r: changed(r, fitted={"scale_": "x"}), "finite number"),
        (lambda r: changed(r, modules=["network_"]), "has no module"),
        (lambda r: changed(r, arrays={}), "arrays differ"),
    ],
)
def test_hostile_saved_calibrators_are_refused(tmp_path, change, message):
    fitted("vector-scaling")[0].save(tmp_path)
    record = json.loads((tmp_path / "calibrator.json").read_text())
    (tmp_path / "calibrator.json").write_text(change(record))
    with pytest.raises(InputError, match=message):
        Calibrator.load(tmp_path)


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_a_temperature_that_is_not_positive_is_refused(tmp_path, value):
    fitted("temperature-scaling")[0].save(tmp_path)
    path = tmp_path / "calibrator.json"
    record = json.loads(path.read_text())
    assert record["fitted"]["temperature_"] > 0
    path.write_text(changed(record, fitted=record["fitted"] | {"temperature_": value}))
    with pytest.raises(InputError, match="temperature_ is not positive"):
        Calibrator.load(tmp_path)


def test_damaged_arrays_are_refused(tmp_path):
    fitted("vector-scaling")[0].save(tmp_path)
    path = tmp_path / "calibrator.safetensors"
    arrays = load_file(path)
    save_file({"weight_": arrays["weight_"] * float("nan"), "bias_": arrays["bias_"]}, path)
    with pytest.raises(InputError, match="weight_ contains NaN"):
        Calibrator.load(tmp_path)
    path.write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="damaged"):
        Calibrator.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        Calibrator.load(tmp_path)


CHAINS = [("temperature-scaling", "isotonic"), ("calattn-frozen", "temperature-scaling")]


def fitted_chain(names):
    """A chain, each fitted on what those before it give; its inputs, and the probabilities that it gives."""
    chain, logits, extra = [], None, {}
    for name in names:
        one, inputs, more = fitted(name)
        if logits is None:
            logits, extra, current = inputs, more, inputs
        passed = extra if "features" in one.needs else {}
        chain.append(type(one)(**one.options()).fit(current, data()[1], **passed))
        current = chain[-1].transform(current, **passed)
    return chain, {"logits": logits, **extra}, current.double().softmax(1).float()


ROUNDING = {"density-aware": 1e-5, "procal": 1e-3}
"""Without export, their distances are differences of large squares where there are many rows."""
SLOWLY = [pytest.param((name,), marks=pytest.mark.slow) for name in NAMES] + [
    pytest.param(CHAINS[1], marks=pytest.mark.slow)
]


@pytest.mark.parametrize("names", [CHAINS[0], *SLOWLY], ids="+".join)
def test_the_exported_torch_module_gives_the_same(tmp_path, names, monkeypatch):
    monkeypatch.setattr("calbench.benchmark.predictions.export._write_onnx", lambda *_: None)
    chain, inputs, expected = fitted_chain(names)
    export(chain, tmp_path)
    extra = {"calbench.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        module = torch.export.load(tmp_path / "calibrator.pt2", extra_files=extra).module()
    torch.testing.assert_close(module(*inputs.values()), expected, atol=ROUNDING.get(names[0], 1e-6), rtol=0)
    assert module(*(value[:1] for value in inputs.values())).shape == (1, 4)
    record = json.loads(extra["calbench.json"])
    assert [one["name"] for one in json.loads(record["calibrators"])] == list(names)
    assert json.loads(record["classes"]) == [0, 1, 2, 3]
    loaded = load_chain(tmp_path)
    assert [one.spec.name for one in loaded] == list(names)
    for one, of_file in zip(chain, loaded, strict=True):
        assert one.fitted().keys() == of_file.fitted().keys()


FORMS = [("temperature-scaling",), ("isotonic",), ("calattn-frozen",), *CHAINS]


@pytest.mark.slow
@pytest.mark.parametrize("names", FORMS, ids="+".join)
def test_the_exported_onnx_model_gives_the_same(tmp_path, names):
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    chain, inputs, expected = fitted_chain(names)
    with contextlib.redirect_stdout(io.StringIO()):
        export(chain, tmp_path)
    session = runtime.InferenceSession(tmp_path / "calibrator.onnx")
    arrays = {key: value.numpy() for key, value in inputs.items()}
    [result] = session.run(["probabilities"], arrays)
    np.testing.assert_allclose(result, expected.numpy(), atol=2e-6)  # on the very rows that it was fitted on
    [one] = session.run(None, {key: value[:1] for key, value in arrays.items()})
    np.testing.assert_allclose(one, result[:1], atol=1e-6)
    about = session.get_modelmeta()
    assert (about.producer_name, about.graph_name) == ("calbench", "calibrator")
    assert json.loads(about.custom_metadata_map["classes"]) == [0, 1, 2, 3]
    assert [one["name"] for one in json.loads(about.custom_metadata_map["calibrators"])] == list(names)
    assert {"calbench", "torch"} <= about.custom_metadata_map.keys()


@pytest.mark.slow
def test_export_notes_what_the_fit_warns_of(tmp_path, capsys):
    logits, labels, _ = data()
    np.savez(tmp_path / "one.npz", logits=logits, labels=0 * labels)
    assert main(["export", str(tmp_path / "one.npz"), "-m", "temperature-scaling", "-o", str(tmp_path / "o")]) == 0
    shown = capsys.readouterr().err
    assert "note: temperature-scaling: no calibration row of classes 1, 2, 3" in shown
    assert "UserWarning" not in shown
