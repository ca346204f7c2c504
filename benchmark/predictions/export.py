"""Exports fitted calibrators for deployment: calbench's own format, TorchScript or torch.export, ONNX."""

import importlib.util
import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.methods import Calibrator

TORCH_NAME = "calibrator.pt"
ONNX_NAME = "calibrator.onnx"


class Deployed(nn.Module):
    """A fitted calibrator as a module: from logits, and features where it needs them, to probabilities (N, K)."""

    def __init__(self, calibrator: Calibrator) -> None:
        super().__init__()
        self.calibrator = calibrator
        self.fitted = nn.ModuleList(v for v in calibrator.fitted().values() if isinstance(v, nn.Module))

    def forward(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """The calibrated probabilities (N, K)."""
        extra = {} if features is None else {"features": features}
        return self.calibrator.calibrate_tensor(logits, **extra).softmax(dim=1)


def export(calibrator: Calibrator, folder: str | Path) -> list[Path]:
    """Write a fitted calibrator into `folder`: JSON and safetensors, ``calibrator.pt`` and ``calibrator.onnx``.

    The torch file is a TorchScript module; it and the ONNX model take ``logits`` (N, K) in float32, and ``features``
    (N, D) where the calibrator needs them, and give ``probabilities`` (N, K).

    Returns:
        The files written. ``calibrator.onnx`` is left out where the extra ``onnx`` is not installed.

    Raises:
        NotFittedError: the calibrator is not fitted.
        InputError: it holds operations that cannot be recorded.
    """
    folder = Path(folder)
    calibrator.save(folder)
    written = sorted(folder.glob("calibrator.*"))
    module, example = Deployed(calibrator).eval(), _example(calibrator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and nothing else runs without calbench
            traced = cast("torch.jit.ScriptModule", torch.jit.trace(module, example, check_trace=False))
            traced.save(str(folder / TORCH_NAME))
            if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript"):
                _write_onnx(module, example, folder / ONNX_NAME)
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(f"{calibrator.spec.name} cannot be exported: {error}") from error
    return sorted({*written, *folder.glob("calibrator.*")})


def _example(calibrator: Calibrator) -> tuple[Tensor, ...]:
    """Inputs to record with: more than one row, so that the number of rows stays free."""
    logits = torch.linspace(-1, 1, 3 * calibrator.num_classes_).reshape(3, -1)
    if "features" not in calibrator.needs:
        return (logits,)
    return logits, torch.zeros(3, vars(calibrator)["num_features_"])


def _write_onnx(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    names = ["logits", "features"][: len(example)]
    rows = torch.export.Dim("rows")
    torch.onnx.export(
        module,
        example,
        str(path),
        input_names=names,
        output_names=["probabilities"],
        dynamic_shapes={name: {0: rows} for name in names},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
