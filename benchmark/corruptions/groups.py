"""Names of sets of corruptions that a suite may use."""

from collections.abc import Iterable

from calbench.benchmark.core.errors import check_names
from calbench.benchmark.corruptions.base import registry

COMMON, ALL = "cifar-c", "all"


def groups() -> dict[str, list[str]]:
    """Every group and its corruptions.

    ``cifar-c``: the common corruptions of Hendrycks and Dietterich without frost, which needs their photographs;
    ``noise``, ``blur``, ``weather``, ``digital``: those of one family; ``all``: with the extra ones.
    """
    named: dict[str, list[str]] = {COMMON: [], ALL: list(registry)}
    for name in registry:
        if not registry[name].extra:
            named[COMMON].append(name)
            named.setdefault(registry[name].family, []).append(name)
    return named


def corruption_names(asked: str | Iterable[str]) -> list[str]:
    """The corruptions that `asked` names: a group or a corruption, or several, each once and in the order asked.

    Raises:
        InputError: a name that is neither; the message gives the nearest.

    Example:
        ``corruption_names(["noise", "fog"])`` is ``["gaussian-noise", "impulse-noise", "shot-noise", "fog"]``.
    """
    asked = [asked] if isinstance(asked, str) else list(asked)
    known = groups()
    check_names("corruption", asked, [*known, *registry])
    return list(dict.fromkeys(name for one in asked for name in known.get(one, [one])))
