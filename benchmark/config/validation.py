"""Options checked by a pydantic model, with errors of one line."""

from types import UnionType
from typing import Any, TypeVar, Union, get_origin

from pydantic import BaseModel, ValidationError

from calbench.benchmark.core.errors import InputError, nearest

Model = TypeVar("Model", bound=BaseModel)


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
        return f"unknown option {place!r}{nearest(str(first['loc'][-1]), model.model_fields)}"
    reasons = dict.fromkeys(e["msg"] for e in error.errors() if e["loc"][0] == first["loc"][0])
    return f"{place}: {'; or '.join(reasons)}" + (f", got {first['input']!r}" if first["type"] != "missing" else "")
