"""Errors that the user can fix: one clear message, no traceback on the command line."""

import difflib
from collections.abc import Iterable

AFFECTS_RESULTS = False


class InputError(ValueError):
    """Bad input (a name, an option, a file, a combination): the command line exits with status 2."""


class CellError(RuntimeError):
    """A cell that cannot give predictions (divergence, say): recorded with its reason, never cached as a result."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to `word`, or ``""`` where none is near."""
    found = difflib.get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def check_names(what: str, given: Iterable[str], known: Iterable[str], listing: str = "") -> None:
    """Raise an `InputError` that names the first of `given` that is not among `known`, with the nearest match.

    Args:
        what: the noun of a name.
        given: names to check.
        known: the names that there are.
        listing: the command that lists `known`; it replaces the whole list where there is a near match.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = nearest(name, known)
            rest = f"`{listing}` lists all" if near and listing else f"known: {', '.join(known) or 'none'}"
            raise InputError(f"unknown {what} {name!r}{near}; {rest}")
