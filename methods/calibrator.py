"""The base of post-hoc maps: scikit-learn estimators on logits, NumPy or torch in and the same kind out."""

import functools
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from ..benchmark.metrics.inputs import as_labels, as_logits
from .base import Method


class Calibrator(Method, BaseEstimator, ABC):
    """A map from logits to calibrated logits, fitted on the calibration split.

    A subclass is a dataclass of options that implements `fit` and `transform`. Both see torch tensors on the device of
    the input, whatever the caller passed: logits (N, K) of a floating type, checked to be finite; labels (N,) int64
    in 0..K-1. What `transform` and `predict_proba` return is converted back to the caller's kind. Fitted values end in
    an underscore. A subclass whose ``needs`` contains ``"features"`` takes the pooled features (N, D) as a keyword
    ``features`` in `fit` and `transform`.
    """

    kind = "calibrator"
    _wrapped: ClassVar[tuple[str, ...]] = ("fit", "transform", "predict_proba")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Convert and check the inputs of `fit`, `transform` and `predict_proba` where a subclass defines them."""
        super().__init_subclass__(**kwargs)
        for name in cls._wrapped:
            if name in cls.__dict__:
                setattr(cls, name, _converted(cls.__dict__[name]))

    @abstractmethod
    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit the map on calibration logits (N, K) and labels (N,); returns self.

        Raises:
            ValueError: non-finite logits, labels out of range, lengths that differ; the message says which row.
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


def _converted(function: Any) -> Any:
    """Wrap a method of a calibrator so that it sees checked tensors and gives back the caller's kind."""
    has_labels = "labels" in inspect.signature(function).parameters

    @functools.wraps(function)
    def wrapper(self: Calibrator, logits: Any, *args: Any, **kwargs: Any) -> Any:
        tensor = as_logits(logits)
        if has_labels:
            labels = args[0] if args else kwargs.pop("labels")
            args = (as_labels(labels, *tensor.shape), *args[1:])
        kwargs = {key: torch.as_tensor(value) for key, value in kwargs.items() if value is not None}
        result = function(self, tensor, *args, **kwargs)
        numpy_in = not isinstance(logits, Tensor)
        return result.detach().cpu().numpy() if numpy_in and isinstance(result, Tensor) else result

    return wrapper
