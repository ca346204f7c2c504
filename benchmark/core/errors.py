"""Errors that the user can fix: one clear message, no traceback on the command line."""

import difflib
from collections.abc import Iterable

AFFECTS_RESULTS = False

OWN = "; one of your own needs --plugin FILE"
"""The end of a message about an unknown name, where no plug-in was loaded."""

LISTED = 40
"""The number of names that a message lists at most."""


class InputError(ValueError):
    """Bad input (a name, an option, a file, a combination): the command line exits with status 2."""


class CellError(RuntimeError):
    """A cell that cannot give predictions (divergence, say): recorded with its reason, never cached as a result."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to `word`, or ``""`` where none is near."""
    names = [str(name) for name in known]
    found = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if not found:  # CIFAR-10 is cifar10
        plain = {_plain(name): name for name in names}
        found = [plain[near] for near in difflib.get_close_matches(_plain(str(word)), plain, n=1, cutoff=0.7)]
    return f" (did you mean {found[0]!r}?)" if found else ""


def _plain(name: str) -> str:
    """A name without case and separators."""
    return "".join(filter(str.isalnum, name.casefold()))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more


def check_names(what: str, given: Iterable[str], known: Iterable[str], listing: str = "", ending: str = "") -> None:
    """Raise an `InputError` that names the first of `given` that is not among `known`, with the nearest match.

    Args:
        what: the noun of a name.
        given: names to check.
        known: the names that there are.
        listing: the command that lists `known`; it replaces names where there is a near match, or more than fit.
        ending: the end of the message.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = nearest(name, known)
            many = len(known) > LISTED
            rest = f"`{listing}` lists all" if listing and (near or many) else f"known: {_some(known)}"
            raise InputError(f"unknown {what} {name!r}{near}; {rest}{ending}")
