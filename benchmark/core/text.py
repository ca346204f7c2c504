"""Sanitises untrusted text (names, titles and reasons from files) before it is shown."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd

AFFECTS_RESULTS = False

# Control characters but tab and newline; the marks by which a text changes the direction of what follows it; and
# characters that nobody sees, apart from the two that join letters.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_ABSOLUTE_PATH = re.compile(r"""(?:(?<=[\s=('"\[:,])|^)~?/(?=[\w.])[^\s,()'"\]]*""")
_FORMULA = re.compile(r"[=+\-@\t\r']")


def visible(text: str) -> str:
    r"""`text` with control characters shown as escapes: a terminal obeys none of them.

    Example:
        >>> visible("\x1b[2Jname")
        '\\x1b[2Jname'
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def name(text: str) -> str:
    """`text` as the one name of something in every table and file: one line, harmless, and without absolute paths."""
    return without_paths(visible(" ".join(text.splitlines())))


def counted(number: int, one: str, several: str = "") -> str:
    """A number with its noun in the singular or plural.

    Args:
        number: of things.
        one: the noun of one.
        several: that of several; `one` with an s by default.

    Example:
        >>> counted(1, "dataset"), counted(1200, "class", "classes")
        ('1 dataset', '1,200 classes')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def visible_data(value: Any) -> Any:
    """Plain data with `visible` applied to every string, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return {visible_data(key): visible_data(item) for key, item in fields.items()}
    if isinstance(value, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", value)
        return [visible_data(item) for item in items]
    return value


def is_visible(value: Any) -> bool:
    """Whether `visible_data` leaves every string in plain data as it is."""
    if isinstance(value, str):
        return _CONTROL.search(value) is None
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return all(is_visible(key) and is_visible(item) for key, item in fields.items())
    if isinstance(value, list | tuple):
        return all(is_visible(item) for item in cast("list[Any] | tuple[Any, ...]", value))
    return True


def without_paths(value: Any) -> Any:
    """Plain data with every absolute path in a text cut to its last part: no artefact has one."""
    if isinstance(value, str):
        return _ABSOLUTE_PATH.sub(lambda match: Path(match[0]).name, value)
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return {key: without_paths(item) for key, item in fields.items()}
    if isinstance(value, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", value)
        return [without_paths(item) for item in items]
    return value


def typed_command() -> str:
    """The command of this process as it was typed, for records: without absolute paths."""
    return without_paths(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def visible_frame(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A table with `visible` applied to its texts."""
    return _on_texts(frame, visible)


def csv_safe(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A table whose texts no spreadsheet takes for a formula: an apostrophe goes before = + - @ and apostrophes."""
    return _on_texts(frame, lambda text: f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text)


def from_csv(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table that `csv_safe` was given."""
    return _on_texts(frame, lambda text: text[1:] if text[:1] == "'" and _FORMULA.match(text[1:]) else text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _on_texts(frame: "pd.DataFrame", change: Callable[[str], str]) -> "pd.DataFrame":
    from pandas.api.types import is_string_dtype

    changed: dict[str, pd.Series] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype != object and not is_string_dtype(column):
            continue
        values: list[object] = column.tolist()
        texts = {value: change(value) for value in {value for value in values if isinstance(value, str)}}  # few, often
        if not texts or any(old != new for old, new in texts.items()):
            changed[str(name)] = column.map(_replacing(texts))
    return frame.assign(**changed)


def _replacing(texts: dict[str, str]) -> Callable[[Any], Any]:
    """A function that replaces the texts that it knows, and keeps what is not a text."""
    return lambda value: texts[value] if isinstance(value, str) else value
