"""Finds the stack level of a warning: the first line outside of this package."""

import inspect


def level_outside() -> int:
    """The `stacklevel` of the first caller outside of calbench, for a warning from the function that calls this one."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("calbench"):
        level, frame = level + 1, frame.f_back
    return level
