"""The base of post-hoc calibrators: scikit-learn estimators on logits that accept and return NumPy or torch arrays."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import UNUSED
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import checked_options
from calbench.methods.base import Method
from calbench.methods.calibrators._wrappers import inside, map_of, wrap_fit, wrap_transform
from calbench.methods.solvers.nll import in_blocks

_ABOUT_INPUTS = ("num_classes_", "classes_", "n_features_in_", "feature_names_in_")


class Calibrator(Method, ClassifierMixin, TransformerMixin, BaseEstimator, ABC):
    """A function from logits to calibrated logits, fitted on the calibration split.

    A subclass is a dataclass of options that implements `fit` and `transform`. Both see torch tensors on the device of
    the input, whatever the caller passed: logits (N, K) in float32 or float64, checked to be finite; labels (N,) int64
    in 0..K-1. What `transform` and `predict_proba` return is converted back to the caller's kind. Fitted values end in
    an underscore, and are numbers, tensors or modules, so that `save` can write them. A subclass whose ``needs``
    contains ``"features"`` takes the pooled features (N, D) as a keyword ``features`` in `fit` and `transform`; one
    whose `fit` has a parameter ``sample_weight`` gets weights (N,) float64 with a mean of one, or None.

    Callers may also pass a single column of scores (N, 1) of two classes, which becomes the logits 0 and score, labels
    of any kind (see `fit`), and scikit-learn's ``X`` and ``y`` for logits and labels.

    Attributes:
        fits_each_class: whether the calibrator has parameters for each class. Then it is fitted on the classes that
            have a calibration row; the others keep the probability that temperature scaling gives them. By default
            what does not keep the accuracy.
        growth: what grows with the number of classes, for the message that refuses more than ``max_classes``, where
            that is an option.

    Example:
        >>> import numpy as np, calbench as cb
        >>> z = np.array([[2.0, 0.0], [1.5, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
        >>> ts = cb.TemperatureScaling().fit(z, ["cat", "cat", "dog", "dog", "dog"])
        >>> ts.predict(z).tolist()
        ['cat', 'cat', 'dog', 'cat', 'dog']
    """

    kind = "calibrator"
    growth: ClassVar[str] = ""
    fits_each_class: ClassVar[bool]
    __metadata_request__fit: ClassVar[dict[str, str]] = {"labels": UNUSED}

    num_classes_: int
    classes_: np.ndarray
    n_features_in_: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Convert and check the inputs of `fit` and `transform` where a subclass defines them."""
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)
        if "fits_each_class" not in cls.__dict__ and "keeps_accuracy" in cls.__dict__:
            cls.fits_each_class = not cls.keeps_accuracy
        for name, wrap in (("fit", wrap_fit), ("transform", wrap_transform)):
            if name in cls.__dict__:
                setattr(cls, name, wrap(cls.__dict__[name]))

    @abstractmethod
    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit on calibration logits (N, K) and labels (N,); returns self.

        Labels are columns, 0..K-1, or K names (or other numbers) that are matched to the columns in sorted order; the
        keyword ``classes`` gives the K labels in another order, or where some have no row.

        Raises:
            TypeError: an argument that is missing or that this calibrator does not take.
            ValueError: non-finite logits, labels out of range, lengths that differ; the message names the row.
            InputError: the method cannot work on data of this shape; the message gives the reason.
        """

    @abstractmethod
    def transform(self, logits: Any) -> Any:
        """Calibrated logits (N, K), of the caller's kind."""

    def predict_proba(self, logits: Any, **extra: Any) -> Any:
        """Calibrated probabilities (N, K), of the caller's kind; every row sums to one."""
        transformed = self.transform(logits, **extra)
        values = torch.as_tensor(transformed)
        probabilities = in_blocks(lambda rows: rows.double().softmax(dim=1).to(rows.dtype), values)
        return probabilities.numpy() if isinstance(transformed, np.ndarray) else probabilities

    def predict(self, logits: Any, **extra: Any) -> Any:
        """The predicted class of every row (N,): a tensor of columns for a tensor, else entries of ``classes_``."""
        predicted = self.transform(logits, **extra).argmax(1)
        if isinstance(predicted, Tensor) and self.classes_.dtype.kind in "iu":
            return torch.from_numpy(self.classes_).to(predicted.device)[predicted]
        return self.classes_[predicted.cpu().numpy() if isinstance(predicted, Tensor) else predicted]

    def score(self, logits: Any, y: Any, sample_weight: Any = None, **extra: Any) -> float:
        """The accuracy of the calibrated predictions, 0..1, as scikit-learn's classifiers score."""
        predicted = self.predict(logits, **extra)
        labels, predicted = (v.cpu().numpy() if isinstance(v, Tensor) else v for v in (y, predicted))
        return float(accuracy_score(labels, predicted, sample_weight=sample_weight))

    def calibrate_tensor(self, logits: Tensor, **extra: Any) -> Tensor:
        """`transform` of a tensor (N, K) without checks of its values, so that it can be traced and exported."""
        with inside(self):
            return map_of(self, type(self).transform.__wrapped__, logits, extra)

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn asks of an estimator: labels are needed, and some calibrators are for two classes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.classifier_tags.multi_class = "binary" not in self.needs
        return tags

    def set_params(self, **params: Any) -> Self:
        """Set options by name, checked as in the constructor; returns self.

        Raises:
            InputError: an unknown option, or a value of the wrong type.
        """
        return super().set_params(**checked_options(type(self), params))

    def fitted(self) -> dict[str, float | int | bool | Tensor | nn.Module]:
        """The fitted values by name (without those about the inputs); empty before `fit`."""
        return {
            k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_") and k not in _ABOUT_INPUTS
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


Calibrator.fits_each_class = True
