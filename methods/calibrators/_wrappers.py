"""Wrappers of every calibrator's `fit` and `transform`: inputs become checked tensors, outputs the caller's type."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.methods.calibrators._absent import present_classes, warn_of_absent, with_absent
from calbench.methods.calibrators._arguments import (
    features_of,
    labels_of,
    names_of_columns,
    plain,
    scores_of,
    weights_of,
)
from calbench.methods.solvers.newton import optimal_temperature

if TYPE_CHECKING:
    from calbench.methods.calibrators._base import Calibrator

_INSIDE: ContextVar[frozenset[int]] = ContextVar("inside", default=frozenset())
"""The calibrators whose `fit` or `transform` is running: calls between their methods are not checked again."""

ALIASES = {"X": "logits", "y": "labels"}
ROUNDING = 16
"""Relative and absolute rounding errors by which two equal logits may differ after a transform."""

ABSENT = ("present_", "absent_temperature_")
"""The fitted values of a calibrator some of whose classes have no calibration row."""


def wrap_fit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a calibrator's `fit` so that it sees tensors of the classes that it is to be fitted on."""
    signature = _without_features(function)
    weighted = "sample_weight" in signature.parameters

    @functools.wraps(function)
    def fit(self: "Calibrator", *args: Any, **kwargs: Any) -> Any:
        if id(self) in _INSIDE.get():
            return function(self, *args, **kwargs)
        features, classes = kwargs.pop("features", None), kwargs.pop("classes", None)
        given = _bound(self, signature, args, kwargs)
        columns, scores = names_of_columns(given["logits"]), plain(given["logits"])
        logits, width = scores_of(scores), int(scores.shape[1])
        labels, names = labels_of(given["labels"], classes, *logits.shape)
        labels = labels.to(logits.device)
        extra = {"features": features_of(self.spec.name, features, logits)} if "features" in self.needs else {}
        if weighted:
            weights = given.get("sample_weight")
            extra["sample_weight"] = cast(
                "Any", None if weights is None else weights_of(weights, len(logits)).to(logits.device)
            )
        _check_shape(self, *logits.shape)
        for name in (*ABSENT, "n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
        with torch.no_grad(), inside(self):
            _fit_present(self, function, logits, labels, names, extra)
        self.num_classes_, self.classes_, self.n_features_in_ = logits.shape[1], names, width
        if columns is not None:
            cast("Any", self).feature_names_in_ = columns
        return self

    return fit


def wrap_transform(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a calibrator's `transform` so that it sees checked tensors and gives back the caller's kind."""
    signature = _without_features(function)

    @functools.wraps(function)
    def transform(self: "Calibrator", *args: Any, **kwargs: Any) -> Any:
        if id(self) in _INSIDE.get():
            return function(self, *args, **kwargs)
        features = kwargs.pop("features", None)
        passed = _bound(self, signature, args, kwargs)["logits"]
        scores = plain(passed)
        if not hasattr(self, "num_classes_"):
            raise NotFittedError(f"{self.spec.name} is not fitted: call fit(logits, labels) first")
        logits = scores_of(scores)
        _check_columns(self, names_of_columns(passed), int(scores.shape[1]), logits.shape[1])
        extra = {"features": features_of(self.spec.name, features, logits)} if "features" in self.needs else {}
        with torch.no_grad(), inside(self):
            result = map_of(self, function, logits, extra)
            if self.keeps_accuracy:
                result = _with_argmax_of(logits, result)
        return result if isinstance(scores, Tensor) else result.cpu().numpy()

    return transform


@contextmanager
def inside(calibrator: "Calibrator") -> Iterator[None]:
    """While this lasts, `fit` and `transform` of `calibrator` take tensors as they are."""
    token = _INSIDE.set(_INSIDE.get() | {id(calibrator)})
    try:
        yield
    finally:
        _INSIDE.reset(token)


def _without_features(function: Callable[..., Any]) -> inspect.Signature:
    """The signature without the features, which every calibrator may be handed and some need."""
    signature = inspect.signature(function)
    return signature.replace(parameters=[p for name, p in signature.parameters.items() if name != "features"])


def _with_argmax_of(logits: Tensor, result: Tensor) -> Tensor:
    """`result` (N, K) with the argmax of `logits`, where rounding made another class tie with it or exceed it.

    Two logits that differ by the last bit may be equal after a division. A true change of the order is not corrected.
    """
    top = logits.argmax(dim=1)
    rows = (result.argmax(dim=1) != top).nonzero().flatten()
    if not len(rows):
        return result
    largest, own = result[rows].amax(dim=1), result[rows, top[rows]]
    close = largest - own <= ROUNDING * torch.finfo(result.dtype).eps * (1 + largest.abs())
    rows, largest = rows[close], largest[close]
    result = result.clone()
    result[rows, top[rows]] = torch.nextafter(largest, torch.full_like(largest, torch.inf))
    return result


def map_of(calibrator: "Calibrator", function: Callable[..., Tensor], logits: Tensor, extra: dict[str, Any]) -> Tensor:
    """Calibrated logits (N, K) by the unwrapped `transform`, with the classes that had no calibration row."""
    if not hasattr(calibrator, "present_"):
        return function(calibrator, logits, **extra)

    def transform(part: Tensor) -> Tensor:
        return function(calibrator, part, **extra)

    return with_absent(logits, cast("Any", calibrator).present_, cast("Any", calibrator).absent_temperature_, transform)


def _bound(
    calibrator: "Calibrator", signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments by name; a TypeError for one that is missing or unknown, as of any Python function."""
    named = {ALIASES.get(name, name): value for name, value in kwargs.items()}
    try:
        return signature.bind(calibrator, *args, **named).arguments
    except TypeError as error:
        raise TypeError(f"{calibrator.spec.name}: {error}") from None


def _fit_present(
    calibrator: "Calibrator",
    function: Callable[..., Any],
    logits: Tensor,
    labels: Tensor,
    names: Any,
    extra: dict[str, Any],
) -> None:
    """Fit on the columns of the classes that have a row, and remember which; on all columns where all have one."""
    weights = extra.get("sample_weight")
    present = present_classes(labels if weights is None else labels[weights > 0], logits.shape[1])
    if len(present) < logits.shape[1]:
        warn_of_absent(calibrator.spec.name, present, list(names), calibrator.fits_each_class, stacklevel=4)
        if calibrator.fits_each_class:
            cast("Any", calibrator).present_ = present
            cast("Any", calibrator).absent_temperature_ = optimal_temperature(logits, labels, weights, stacklevel=5)
            if len(present) > 1:
                kept = (labels[:, None] == present).any(dim=1)  # rows of weight zero may have other classes
                logits, labels = logits[kept][:, present], torch.searchsorted(present, labels[kept])
                extra = {name: None if value is None else value[kept] for name, value in extra.items()}
    _check_size(calibrator, logits.shape[1])
    function(calibrator, logits, labels, **extra)


def _check_size(calibrator: "Calibrator", num_classes: int) -> None:
    """Refuse more classes than the calibrator's option ``max_classes``."""
    limit = getattr(calibrator, "max_classes", None)
    if limit is not None and num_classes > limit:
        name = calibrator.spec.name
        raise InputError(
            f"{name} {calibrator.growth}: {num_classes} classes are more than max_classes={limit};"
            f" to fit it nevertheless use {name}(max_classes={num_classes})"
        )


def _check_shape(calibrator: "Calibrator", rows: int, num_classes: int) -> None:
    """Raise an `InputError` for shapes that the calibrator declares unsupported."""
    name = calibrator.spec.name
    if "more-samples-than-classes" in calibrator.needs and rows <= num_classes:
        raise InputError(f"{name} needs more samples than classes: got {rows} samples and {num_classes} classes")
    if "binary" in calibrator.needs and num_classes != 2:
        raise InputError(f"{name} is for two classes: got {num_classes}. Only binary classification is supported")


def _check_columns(calibrator: "Calibrator", columns: np.ndarray | None, width: int, num_classes: int) -> None:
    """Refuse logits with other columns than `fit` saw."""
    fitted = getattr(calibrator, "feature_names_in_", None)
    if columns is not None and fitted is not None and list(columns) != list(fitted):
        raise ValueError("The feature names should match those that were passed during fit.")
    expected = getattr(calibrator, "n_features_in_", calibrator.num_classes_)
    if num_classes != calibrator.num_classes_ or (width == 1) != (expected == 1):
        raise ValueError(
            f"X has {width} features, but {type(calibrator).__name__} is expecting {expected} features as input: it was"
            f" fitted on {calibrator.num_classes_} classes, got logits of {width}"
        )
