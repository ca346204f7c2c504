"""Exports fitted calibrators, one or a chain, for deployment: calbench's own format, torch.export, ONNX."""

import importlib.metadata
import importlib.util
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.methods import Calibrator

TORCH_NAME = "calibrator.pt2"
ONNX_NAME = "calibrator.onnx"
RECORD_NAME = "calbench.json"
"""The file inside of the torch archive, and the prefix of ONNX metadata, that say what was exported."""


class Deployed(nn.Module):
    """Fitted calibrators as a module: from logits, and features where one needs them, to probabilities (N, K)."""

    def __init__(self, chain: Sequence[Calibrator]) -> None:
        super().__init__()
        self.chain = tuple(chain)
        self.fitted = nn.ModuleList(v for c in chain for v in c.fitted().values() if isinstance(v, nn.Module))

    def forward(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """The calibrated probabilities (N, K)."""
        for calibrator in self.chain:
            extra = {"features": features} if "features" in calibrator.needs else {}
            logits = calibrator.calibrate_tensor(logits, **extra)
        return logits.softmax(dim=1)


def export(calibrators: Calibrator | Sequence[Calibrator], folder: str | Path) -> list[Path]:
    """Write fitted calibrators into `folder`: JSON and safetensors, ``calibrator.pt2`` and ``calibrator.onnx``.

    ``calibrator.pt2`` is read by `torch.export.load`. It and the ONNX model need no calbench, take ``logits`` (N, K) in
    float32, and ``features`` (N, D) where a calibrator needs them, and give ``probabilities`` (N, K); both contain
    `record_of` the calibrators. `load_chain` reads calbench's own files, which are in a numbered folder for each
    calibrator of a chain.

    Args:
        calibrators: one, or those of a chain in order, each fitted on what those before it give.
        folder: made where needed.

    Returns:
        The files written. ``calibrator.onnx`` is left out where the extra ``onnx`` is not installed.

    Raises:
        NotFittedError: a calibrator is not fitted.
        InputError: one has operations that cannot be recorded.

    Example:
        >>> import calbench as cb, tempfile, torch
        >>> ts = cb.TemperatureScaling().fit(torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 1, 1, 2]))
        >>> folder = tempfile.mkdtemp()
        >>> files = export(ts, folder)  # doctest: +SKIP
        >>> torch.export.load(f"{folder}/calibrator.pt2").module()(torch.eye(3)).shape  # doctest: +SKIP
        torch.Size([3, 3])
    """
    chain = [calibrators] if isinstance(calibrators, Calibrator) else list(calibrators)
    if not chain:
        raise InputError("export: no calibrator was given")
    folder = Path(folder)
    for calibrator, place in zip(chain, _places(chain, folder), strict=True):
        calibrator.save(place)
    written = [path for place in _places(chain, folder) for path in sorted(place.glob("calibrator.*[jn]s*"))]
    module, example = Deployed(chain).eval(), _example(chain)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            _write_torch(module, example, record_of(chain), folder / TORCH_NAME)
            written.append(folder / TORCH_NAME)
            if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript"):
                _write_onnx(module, example, record_of(chain), folder / ONNX_NAME)
                written.append(folder / ONNX_NAME)
    except (RuntimeError, NotImplementedError) as error:
        name = " + ".join(calibrator.spec.name for calibrator in chain)
        raise InputError(f"{name} cannot be exported: {error}") from error
    return written


def load_chain(folder: str | Path) -> list[Calibrator]:
    """The fitted calibrators that `export` wrote into `folder`, in order.

    Raises:
        InputError: files missing, damaged or of another format.
    """
    numbered = {int(place.name.split("-")[0]): place for place in Path(folder).glob("[0-9]*-*") if place.is_dir()}
    return [Calibrator.load(numbered[number]) for number in sorted(numbered)] or [Calibrator.load(folder)]


def record_of(chain: Sequence[Calibrator]) -> dict[str, str]:
    """What an exported file says of itself, as texts: calibrators with options, class names, versions."""
    calibrators = [{"name": c.spec.name, "options": c.options()} for c in chain]
    return {
        "calibrators": json.dumps(calibrators, default=str),
        "classes": json.dumps(chain[-1].classes_.tolist()),
        "calbench": importlib.metadata.version("calbench"),
        "torch": torch.__version__,
    }


def _places(chain: Sequence[Calibrator], folder: Path) -> list[Path]:
    """The folder of each calibrator: `folder` itself for one."""
    if len(chain) == 1:
        return [folder]
    return [folder / f"{number}-{calibrator.spec.name}" for number, calibrator in enumerate(chain, 1)]


def _example(chain: Sequence[Calibrator]) -> dict[str, Tensor]:
    """Inputs to record with, by name: more than one row, so that the number of rows stays free."""
    inputs = {"logits": torch.linspace(-1, 1, 3 * chain[0].num_classes_).reshape(3, -1)}
    widths = {vars(calibrator)["num_features_"] for calibrator in chain if "features" in calibrator.needs}
    return inputs | ({"features": torch.zeros(3, max(widths))} if widths else {})


_MOST_ROWS = 2**40
"""A bound that no input reaches: without one, PyTorch 2.7 refuses to record a chain."""


def _free_rows(example: dict[str, Tensor]) -> dict[str, Any]:
    """The number of rows as a free size of every input; the features are an input only where they are needed."""
    rows = torch.export.Dim("rows", min=1, max=_MOST_ROWS)
    return {name: {0: rows} for name in example}


def _write_torch(module: nn.Module, example: dict[str, Tensor], record: dict[str, str], path: Path) -> None:
    program = torch.export.export(module, tuple(example.values()), dynamic_shapes=_free_rows(example), strict=False)
    torch.export.save(program, path, extra_files={RECORD_NAME: json.dumps(record)})


def _write_onnx(module: nn.Module, example: dict[str, Tensor], record: dict[str, str], path: Path) -> None:
    program: Any = torch.onnx.export(
        module,
        tuple(example.values()),
        input_names=list(example),
        output_names=["probabilities"],
        dynamic_shapes=_free_rows(example),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    program.model.metadata_props.update(record)
    program.model.producer_name, program.model.producer_version = "calbench", record["calbench"]
    program.model.graph.name = "calibrator"
    program.save(str(path), external_data=False)
