"""Options checked by a pydantic model, with errors of one line."""

from types import UnionType
from typing import Any, TypeVar, Union, get_origin

from pydantic import BaseModel, ValidationError

from calbench.benchmark.core.errors import InputError, nearest

Model = TypeVar("Model", bound=BaseModel)

_ELSEWHERE = {
    "learning_rate": "lr", "wd": "weight_decay", "scheduler": "schedule", "lr_schedule": "schedule", "amp": "precision",
    "warmup": "warmup_epochs", "grad_clip": "clip", "gradient_clipping": "clip", "num_epochs": "epochs",
    "augmentation": "augment", "gamma": "decay_rate", "num_threads": "threads", "methods": "entries",
    "models": "backbones", "networks": "backbones", "name": "title", "n_bins": "bins", "num_bins": "bins",
    "epochs": "training", "metrics": "protocol", "bootstrap": "protocol", "n_bootstrap": "bootstrap",
}  # fmt: skip
"""What other software calls an option, or which field an option belongs under, for messages about unknown options."""


def validated(model: type[Model], options: dict[str, Any], what: str) -> Model:
    """Make a model of options; an `InputError` that begins with `what` says what is wrong."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise InputError(f"{what}: {reason_of(model, error)}") from None


def reason_of(model: type[BaseModel], error: ValidationError) -> str:
    """One line of a pydantic error: the place, what is wrong, and the nearest field name for an unknown one.

    Of a field that may be of several types every one says what it misses; their names in pydantic are left out.
    """
    first = error.errors()[0]
    field, *inner = first["loc"]
    known = model.model_fields.get(str(field))
    if known is not None and get_origin(known.annotation) in (Union, UnionType):
        inner = inner[1:]  # pydantic's name of the type that was tried
    place = ".".join(map(str, [field, *inner]))
    if first["type"] == "extra_forbidden":
        word = str(first["loc"][-1])
        return f"unknown option {place!r}{_meant(word, model)}"
    messages = [e["msg"].removeprefix("Value error, ") for e in error.errors() if e["loc"][0] == first["loc"][0]]
    reasons = dict.fromkeys(messages)
    return f"{place}: {'; or '.join(reasons)}" + (f", got {first['input']!r}" if first["type"] != "missing" else "")


def _meant(word: str, model: type[BaseModel]) -> str:
    """``" (did you mean 'x'?)"``: by another name that is in use, else by letters; ``""`` for neither."""
    other = _ELSEWHERE.get(word.lower().replace("-", "_"))
    return f" (did you mean {other!r}?)" if other in model.model_fields else nearest(word, model.model_fields)
