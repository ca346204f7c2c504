"""The base of post-hoc maps: scikit-learn estimators on logits, NumPy or torch in and the same kind out."""

import functools
import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import checked_options
from calbench.benchmark.metrics.inputs import as_labels, as_logits
from calbench.methods.base import Method


class Calibrator(Method, BaseEstimator, ABC):
    """A map from logits to calibrated logits, fitted on the calibration split.

    A subclass is a dataclass of options that implements `fit` and `transform`. Both see torch tensors on the device of
    the input, whatever the caller passed: logits (N, K) in float32 or float64, checked to be finite; labels (N,) int64
    in 0..K-1. What `transform` and `predict_proba` return is converted back to the caller's kind. Fitted values end in
    an underscore, and are numbers, tensors or modules, so that `save` can write them. A subclass whose ``needs``
    contains ``"features"`` takes the pooled features (N, D) as a keyword ``features`` in `fit` and `transform`.
    """

    kind = "calibrator"
    _wrapped: ClassVar[tuple[str, ...]] = ("fit", "transform")

    num_classes_: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Convert and check the inputs of `fit` and `transform` where a subclass defines them."""
        super().__init_subclass__(**kwargs)
        for name in cls._wrapped:
            if name in cls.__dict__:
                setattr(cls, name, _converted(cls.__dict__[name]))

    @abstractmethod
    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit the map on calibration logits (N, K) and labels (N,); returns self.

        Raises:
            ValueError: non-finite logits, labels out of range, lengths that differ; the message says which row.
            InputError: the method cannot work on data of this shape; the message says why.
        """

    @abstractmethod
    def transform(self, logits: Any) -> Any:
        """Calibrated logits (N, K), of the caller's kind."""

    def predict_proba(self, logits: Any, **extra: Any) -> Any:
        """Calibrated probabilities (N, K), of the caller's kind; every row sums to one."""
        transformed = self.transform(logits, **extra)
        probabilities = torch.as_tensor(transformed).softmax(dim=1)
        return probabilities.numpy() if isinstance(transformed, np.ndarray) else probabilities

    def predict(self, logits: Any, **extra: Any) -> Any:
        """The predicted class of every row (N,), of the caller's kind."""
        return self.transform(logits, **extra).argmax(1)

    def set_params(self, **params: Any) -> Self:
        """Set options by name, checked as in the constructor; returns self.

        Raises:
            InputError: an unknown option, or a value of the wrong type.
        """
        return super().set_params(**checked_options(type(self), params))

    def fitted(self) -> dict[str, float | int | bool | Tensor | nn.Module]:
        """The fitted values by name (without the number of classes); empty before `fit`."""
        return {
            k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_") and k != "num_classes_"
        }

    def build_module(self, name: str) -> nn.Module:
        """Build, untrained, the fitted module `name` when a saved calibrator is loaded.

        Raises:
            InputError: this calibrator has no such module.
        """
        raise InputError(f"{self.spec.name} has no module {name!r}")

    def save(self, folder: str | Path) -> None:
        """Write ``calibrator.json`` and ``calibrator.safetensors`` into `folder`, which is made where needed."""
        from calbench.methods.calibrators._saving import save

        save(self, Path(folder))

    @staticmethod
    def load(folder: str | Path) -> "Calibrator":
        """Read what `save` wrote, whichever calibrator it is.

        Raises:
            InputError: files missing, damaged, of another format, or not fitting the calibrator they name.
        """
        from calbench.methods.calibrators._saving import load_calibrator

        return load_calibrator(Path(folder))


def _converted(function: Any) -> Any:
    """Wrap `fit` or `transform` so that it sees checked tensors and gives back the caller's kind."""
    fits = "labels" in inspect.signature(function).parameters

    @functools.wraps(function)
    def wrapper(self: Calibrator, logits: Any, *args: Any, **kwargs: Any) -> Any:
        tensor = as_logits(logits)
        tensor = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
        if fits:
            labels, *rest = args or [kwargs.pop("labels")]
            args = (as_labels(labels, *tensor.shape).to(tensor.device), *rest)
            _check_shape(self, *tensor.shape)
        else:
            _check_fitted(self, tensor.shape[1])
        with torch.no_grad():
            result = function(self, tensor, *args, **_features(self, tensor, kwargs))
        if fits:
            self.num_classes_ = tensor.shape[1]
        numpy_in = not isinstance(logits, Tensor)
        return result.cpu().numpy() if numpy_in and isinstance(result, Tensor) else result

    return wrapper


def _check_shape(calibrator: Calibrator, rows: int, num_classes: int) -> None:
    """Refuse what a calibrator says it cannot work on."""
    name = calibrator.spec.name
    if "more-samples-than-classes" in calibrator.needs and rows <= num_classes:
        raise InputError(f"{name} needs more samples than classes: got {rows} samples and {num_classes} classes")
    if "binary" in calibrator.needs and num_classes != 2:
        raise InputError(f"{name} is for two classes: got {num_classes}")


def _check_fitted(calibrator: Calibrator, num_classes: int) -> None:
    if not hasattr(calibrator, "num_classes_"):
        raise NotFittedError(f"{calibrator.spec.name} is not fitted: call fit(logits, labels) first")
    if num_classes != calibrator.num_classes_:
        raise ValueError(
            f"{calibrator.spec.name} was fitted on {calibrator.num_classes_} classes, got logits of {num_classes}"
        )


def _features(calibrator: Calibrator, logits: Tensor, extra: dict[str, Any]) -> dict[str, Tensor]:
    """The keyword arguments of a calibrator: the pooled features where it needs them, and nothing else."""
    name = calibrator.spec.name
    unknown = [key for key in extra if key != "features"]
    if unknown:
        raise TypeError(f"{name}: unexpected argument {unknown[0]!r}")
    features = extra.get("features")
    if "features" not in calibrator.needs:
        return {}
    if features is None:
        raise InputError(f"{name} needs features: pass features=… (N, D) beside the logits")
    features = torch.as_tensor(features).to(logits.device)
    if features.ndim != 2 or len(features) != len(logits):
        raise ValueError(f"features: shape {tuple(features.shape)} does not fit {len(logits)} rows of logits")
    if not torch.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values")
    return {"features": features}
