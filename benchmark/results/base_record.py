"""The base of typed records, and reading them from plain data with checks."""

from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from calbench.benchmark.core.errors import InputError


class Record(BaseModel):
    """The base of all records: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __getitem__(self, name: str) -> Any:
        """A field by its name, as in the plain data of the file."""
        if name not in type(self).model_fields and name not in (self.model_extra or {}):
            raise KeyError(name)
        return getattr(self, name)


R = TypeVar("R", bound=Record)


def parse(kind: type[R], value: Any, where: str) -> R:
    """Plain data as a record.

    Raises:
        InputError: a field is missing, unknown or of the wrong type; the message names `where` and the field.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InputError(_first_problem(error, where)) from None


def parse_all(kind: type[R], values: Any, where: str) -> list[R]:
    """A list of plain data as records.

    Raises:
        InputError: as of `parse`, with the place in the list.
    """
    try:
        return _lists(kind).validate_python(values)
    except ValidationError as error:
        raise InputError(_first_problem(error, where)) from None


@cache
def _lists(kind: type[R]) -> TypeAdapter[list[R]]:
    return TypeAdapter(list[kind])  # pyright: ignore[reportInvalidTypeForm]


def _first_problem(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {field + ': ' if field else ''}{first['msg']}{more}"


def plain(record: Record) -> dict[str, Any]:
    """A record as plain data for JSON."""
    return record.model_dump(mode="json")
