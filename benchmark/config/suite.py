"""Read a suite from its YAML file: datasets, backbones, entries, seeds, protocol and training, checked whole."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from calbench.benchmark.config.publication import read_publication
from calbench.benchmark.config.suite_checks import Checker
from calbench.benchmark.config.suite_file import Location, Where, apply_setting, parse_mapping, read_suite
from calbench.benchmark.config.suite_model import PredictionSource, Suite, SuiteConfig
from calbench.benchmark.config.validation import reason_of
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.hashing import digest

__all__ = ["PredictionSource", "Suite", "SuiteConfig", "load_suite", "part_name"]

LONGEST_PART = 60
"""Characters of the description of a part in a name; a longer one is replaced by its hash."""


def load_suite(
    source: str,
    *,
    settings: Sequence[str] = (),
    entries: Sequence[str] = (),
    seeds: Sequence[int] = (),
    smoke: bool = False,
) -> Suite:
    """Read and check a suite.

    Args:
        source: a name of `calbench.benchmark.config.suite_file.suite_files` or a path to a YAML file.
        settings: dotted overrides such as ``training.epochs=5``.
        entries: run only these (and the baseline) instead of the suite's.
        seeds: run these in place of the suite's.
        smoke: take the fields under ``smoke`` in place of the suite's own: the same code in seconds, on generated data.
            The suite is then called ``<name>-smoke``.

    Raises:
        InputError: anything wrong, with file and line if known.
    """
    name, text, origin = read_suite(source)
    options = SuiteConfig.model_fields
    raw, in_file = parse_mapping(text, origin, options)
    given = {}
    if smoke:
        if not isinstance(raw.get("smoke"), dict) or not raw["smoke"]:
            raise InputError(f"{origin}: the suite has no smoke test; leave out --smoke")
        check_names("suite option", raw["smoke"], options)
        given |= dict.fromkeys(raw["smoke"], f"{origin}, smoke")
        raw |= raw["smoke"]
        name += "-smoke"
    for setting in settings:
        given[apply_setting(raw, setting, options)] = f"--set {setting}"
        _win_over_overrides(raw, setting)
    for field, values in (("entries", entries), ("seeds", seeds)):
        if values:
            raw[field], given[field] = list(values), f"--{_SINGULAR[field]}"

    if entries and "pairs" not in given:
        raw.pop("pairs", None)  # those of the whole suite

    def where(location: Location) -> str:
        return given.get(location[0] if location else "") or in_file(location)

    try:
        if isinstance(raw.get("predictions"), list):
            raw["predictions"] = _expand_publications(raw["predictions"], where)
        config = SuiteConfig(**raw)
    except ValidationError as error:
        raise InputError(f"{where(error.errors()[0]['loc'])}: {reason_of(SuiteConfig, error)}") from None
    return Checker(where, config).suite(name)


def part_name(name: str, entries: Sequence[str], seeds: Sequence[int], settings: Sequence[str]) -> str:
    """The name of a part or variation of the suite `name`; `name` itself where nothing is changed.

    Example:
        >>> part_name("quick", ["focal + temperature-scaling"], [0], [])
        'quick@focal+temperature-scaling,seed-0'
        >>> part_name("quick", [], [], [])
        'quick'
    """
    changes = [*entries, *(f"seed-{seed}" for seed in seeds), *settings]
    if not changes:
        return name
    words = ",".join(re.sub(r"[^A-Za-z0-9.=+-]+", "-", change.replace(" ", "")).strip("-.") for change in changes)
    return f"{name}@{words if len(words) <= LONGEST_PART else digest(changes)[:8]}"


def _win_over_overrides(raw: dict[str, Any], setting: str) -> None:
    """Drop the training options from a suite's overrides that a setting of the command line gives."""
    path = setting.partition("=")[0].strip().split(".")
    if path[0] != "training" or not isinstance(raw.get("overrides"), list):
        return
    options = path[1:2] or list(raw.get("training") or {})
    for override in raw["overrides"]:
        if isinstance(override, dict) and isinstance(override.get("training"), dict):
            override["training"] = {k: v for k, v in override["training"].items() if k not in options}


def _expand_publications(sources: list[Any], where: Where) -> list[Any]:
    """Replace every ``{publication: ADDRESS, ...}`` by the files that it names; further options apply to each."""
    expanded: list[Any] = []
    for i, source in enumerate(sources):
        if not isinstance(source, dict) or "publication" not in source or "path" in source:
            expanded.append(source)
            continue
        try:
            manifest = read_publication(str(source["publication"]))
        except InputError as error:
            raise InputError(f"{where(('predictions', i))}: {error}") from error
        expanded += [source | file.model_dump(exclude={"bytes"}) for file in manifest.predictions]
    return expanded


_SINGULAR = {"entries": "entry", "seeds": "seed"}
