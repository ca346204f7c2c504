"""Checks of a class when it is declared: mistakes that Python itself accepts are one line at once."""

import difflib
import inspect
from typing import Any, ClassVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
ALIKE = 0.8
"""How alike an attribute and one of the base classes are, of 1, where the first is the second misspelt."""


def check_declaration(what: str, cls: type, base: type) -> None:
    """Check the base class and the class attributes of a declaration.

    Args:
        what: the declaration, for messages (``"method 'focal'"``).
        cls: the class under the decorator.
        base: the base of all declarations.

    Raises:
        InputError: another base class; an attribute that is misspelt or has a value of the wrong type.
    """
    if not issubclass(cls, base):
        raise InputError(
            f"{what}: class {cls.__name__} has no base class of calbench; write `class {cls.__name__}(Calibrator):`, "
            "or Objective, Head, Augmentation, Dataset, Backbone, Metric"
        )
    types = class_attributes(cls)
    inherited = {name for parent in cls.__mro__[1:] for name in (*vars(parent), *inspect.get_annotations(parent))}
    for name in dict.fromkeys((*vars(cls), *inspect.get_annotations(cls))):
        value = vars(cls).get(name)
        if name.startswith("_") or callable(value) or isinstance(value, property | classmethod | staticmethod):
            continue
        if name in types:
            _check_value(what, name, value, types[name])
        elif name not in inherited and (near := difflib.get_close_matches(name, types, n=1, cutoff=ALIKE)):
            problem = f"has an unknown attribute {name!r} (did you mean {near[0]!r}?)"
            raise InputError(f"{what}: class {cls.__name__} {problem}")


def class_attributes(cls: type) -> dict[str, Any]:
    """The attributes that the bases of a class declare for classes, not for instances, with their types."""
    return {
        name: get_args(annotation)[0]
        for parent in reversed(cls.__mro__[1:])
        for name, annotation in inspect.get_annotations(parent).items()
        if get_origin(annotation) is ClassVar and not name.startswith("_")
    }


def _check_value(what: str, name: str, value: Any, annotation: Any) -> None:
    try:
        TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        raise InputError(f"{what}: {name} = {value!r}: {error.errors()[0]['msg']}") from None
    except (PydanticSchemaGenerationError, PydanticUserError):
        return  # a type that pydantic does not know
