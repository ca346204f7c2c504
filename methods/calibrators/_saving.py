"""Saves and loads fitted calibrators: numbers and options in JSON, arrays in safetensors, no executable code."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as to_bytes
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import write_together
from calbench.methods.base import registry

if TYPE_CHECKING:  # the base of calibrators saves and loads them with this module
    from calbench.methods.calibrators._base import Calibrator

AFFECTS_RESULTS = False

FORMAT = 1
MOST_CLASSES = 10_000_000
_POSITIVE = ("temperature_", "temperatures_", "scale_", "unit_")
"""Fitted values that divide logits, whatever the method."""
JSON_NAME = "calibrator.json"
ARRAYS_NAME = "calibrator.safetensors"


def save(calibrator: "Calibrator", folder: Path) -> None:
    """Write a fitted calibrator into `folder`, which is made where needed.

    Raises:
        NotFittedError: it is not fitted.
    """
    if not hasattr(calibrator, "num_classes_"):
        raise NotFittedError(f"{calibrator.spec.name} is not fitted: there is nothing to save")
    arrays, numbers, modules = {}, {}, []
    for name, value in calibrator.fitted().items():
        if isinstance(value, nn.Module):
            modules.append(name)
            arrays |= {f"{name}.{key}": part.contiguous().cpu() for key, part in value.state_dict().items()}
        elif isinstance(value, Tensor):
            arrays[name] = value.contiguous().cpu()
        else:
            numbers[name] = value
    record = {
        "format": FORMAT,
        "calibrator": {"name": calibrator.spec.name, "options": calibrator.options()},
        "num_classes": calibrator.num_classes_,
        "num_columns": calibrator.n_features_in_,
        "classes": calibrator.classes_.tolist(),
        "fitted": numbers,
        "modules": modules,
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
    }
    text = json.dumps(record, indent=2) + "\n"
    write_together(folder, {ARRAYS_NAME: to_bytes(arrays), JSON_NAME: text.encode()})


def load_calibrator(folder: Path) -> "Calibrator":
    """Read what `save` wrote.

    Raises:
        InputError: a file is missing, damaged, of another format, or does not fit the calibrator it names.
    """
    record = _record(folder / JSON_NAME)
    arrays = _arrays(folder / ARRAYS_NAME)
    where = folder / JSON_NAME
    identity = record["calibrator"]
    calibrator = registry.create(identity["name"], **identity["options"])
    if calibrator.kind != "calibrator":
        raise InputError(f"{where}: {identity['name']!r} is not a calibrator")
    if {name: list(array.shape) for name, array in arrays.items()} != record["arrays"]:
        raise InputError(f"{folder / ARRAYS_NAME}: arrays differ from those that {JSON_NAME} lists")
    for name, array in arrays.items():
        if array.is_floating_point() and not torch.isfinite(array).all():
            raise InputError(f"{folder / ARRAYS_NAME}: {name} contains NaN or infinite values")
    for name, value in {**record["fitted"], **arrays}.items():
        if name in _POSITIVE and not (torch.as_tensor(value) > 0).all():
            raise InputError(f"{where}: {name} is not positive")
    calibrator.num_classes_ = record["num_classes"]
    calibrator.classes_ = np.asarray(record.get("classes", range(calibrator.num_classes_)))
    calibrator.n_features_in_ = record.get("num_columns", calibrator.num_classes_)
    _restore(calibrator, record, arrays, where)
    return calibrator


def _record(path: Path) -> dict[str, Any]:
    """The JSON part, with every field of the type that it must have."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: not a saved calibrator") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path}: not a calibrator of format {FORMAT}")
    identity = record.get("calibrator")
    types = {"num_classes": int, "fitted": dict, "modules": list, "arrays": dict}
    if not (
        isinstance(identity, dict)
        and isinstance(identity.get("name"), str)
        and isinstance(identity.get("options"), dict)
        and all(type(record.get(key)) is kind for key, kind in types.items())
        and 2 <= record["num_classes"] <= MOST_CLASSES
    ):
        raise InputError(f"{path}: fields missing or of the wrong type")
    classes = record.get("classes")
    if classes is not None and not (
        isinstance(classes, list)
        and len(classes) == record["num_classes"]
        and all(isinstance(label, str | int | float) for label in classes)
        and len({type(label) for label in classes}) == 1
    ):
        raise InputError(f"{path}: classes: expected one label per class, all of one type")
    if record.get("num_columns", 1) not in (1, record["num_classes"]):
        raise InputError(f"{path}: num_columns: expected 1 or the number of classes")
    names = [*record["fitted"], *record["modules"], *(key.split(".")[0] for key in record["arrays"])]
    if not all(isinstance(n, str) and n.isidentifier() and n.endswith("_") and not n.startswith("_") for n in names):
        raise InputError(f"{path}: a fitted name that is not a plain name with an underscore at its end")
    if not all(isinstance(v, bool | int | float) and math.isfinite(v) for v in record["fitted"].values()):
        raise InputError(f"{path}: a fitted value that is not a finite number")
    return record


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: not a saved calibrator") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged: {error}") from None


def _restore(calibrator: "Calibrator", record: dict[str, Any], arrays: dict[str, Tensor], where: Path) -> None:
    """Set the fitted values, and check that together they make a working calibrator."""
    modules: dict[str, dict[str, Tensor]] = {name: {} for name in record["modules"]}
    for name, value in record["fitted"].items():
        setattr(calibrator, name, value)
    for name, array in arrays.items():
        owner, _, key = name.partition(".")
        if key:
            modules.setdefault(owner, {})[key] = array
        else:
            setattr(calibrator, name, array)
    try:
        for name, state in modules.items():
            module = calibrator.build_module(name)
            module.load_state_dict(state)
            setattr(calibrator, name, module.eval().requires_grad_(False))
        _try(calibrator)
    except (RuntimeError, AttributeError, TypeError, IndexError, ValueError) as error:
        raise InputError(f"{where}: does not make a {record['calibrator']['name']}: {error}") from None


def _try(calibrator: "Calibrator") -> None:
    """Transform two rows: fitted values that are missing or of another shape show themselves here, not in use."""
    probe = torch.zeros(2, calibrator.n_features_in_)
    probe[:, 0] = 1
    extra = {"features": torch.zeros(2, _num_features(calibrator))} if "features" in calibrator.needs else {}
    result = calibrator.transform(probe, **extra)
    if result.shape != (2, calibrator.num_classes_):
        raise ValueError(f"gives logits of shape {tuple(result.shape)} for {tuple(probe.shape)}")


def _num_features(calibrator: "Calibrator") -> int:
    value = getattr(calibrator, "num_features_", None)
    if not isinstance(value, int):
        raise ValueError(f"num_features_ is {value!r}, no whole number")
    return value
