"""Entries and recipes: what ``focal(gamma=5) + calattn + temperature-scaling`` means.

An entry is one row of a leaderboard: a training recipe (one objective, any augmentations, at most one head), variants
of the trained network's prediction, and a chain of calibrators; both may be empty.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from calbench.benchmark.config.terms import (
    Defaults,
    checked_label,
    make_component,
    parse_term,
    split_outside_brackets,
    with_defaults,
)
from calbench.benchmark.config.tuning import Term, Tuning
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.registry import option_defaults, option_fields
from calbench.benchmark.variants import Variant
from calbench.benchmark.variants import registry as variants
from calbench.methods import Augmentation, BackboneInfo, Calibrator, Head, Method, Objective, registry
from calbench.methods.running import (
    KINDS,
    Extended,
    Procedure,
    StagedAugmentation,
    StatefulObjective,
    ViewAugmentation,
)

AFFECTS_RESULTS = False

DEFAULT_OBJECTIVE = "cross-entropy"


@dataclass(frozen=True, eq=False)
class Recipe:
    """A training-time composition: one objective, any augmentations, at most one head, any procedures."""

    objective: Objective
    augmentations: tuple[Augmentation | StagedAugmentation | ViewAugmentation, ...] = ()
    head: Head | None = None
    procedures: tuple[Procedure, ...] = ()

    @property
    def methods(self) -> tuple[Method, ...]:
        """All parts, the objective first."""
        return (self.objective, *self.augmentations, *([self.head] if self.head else []), *self.procedures)

    @property
    def is_extended(self) -> bool:
        """Whether a part of it acts on the whole run: see `calbench.methods.running`."""
        return any(isinstance(method, Extended) for method in self.methods)

    @property
    def passes(self) -> int:
        """Forward and backward passes per update, in units of those of cross-entropy."""
        return math.prod(getattr(method, "passes", 1) for method in self.methods)

    @cached_property
    def name(self) -> str:
        """The recipe spelled in full: ``cross-entropy-brier + calattn``."""
        return " + ".join(part.spelled() for part in self.methods)

    @property
    def is_plain(self) -> bool:
        """Whether the recipe has no method that acts in training: cross-entropy only."""
        return self.name == DEFAULT_OBJECTIVE

    def identity(self) -> list[dict[str, Any]]:
        """What determines the training, as plain data."""
        return [part.identity() for part in self.methods]

    def default_objective(self) -> Objective:
        """The objective of a recipe that names none."""
        return self.head.default_objective() if self.head else registry.create(DEFAULT_OBJECTIVE)

    def check(self, backbone: BackboneInfo) -> None:
        """Raise an `InputError` with the reason where this recipe cannot be trained on `backbone`."""
        if self.head:
            self.head.check(backbone)


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of a leaderboard.

    ``calibrators`` are fitted on the predictions of recipe and variants; ``member_calibrators`` on those of each member
    of an ensemble, before the members are pooled.

    A tuned entry has ``trials``, of which each cell's results show the best; a trial has the name of its entry,
    ``trial_of``, and its options in words, ``choice``.
    """

    recipe: Recipe
    calibrators: tuple[Calibrator, ...] = ()
    label: str | None = None
    variants: tuple[Variant, ...] = ()
    member_calibrators: tuple[Calibrator, ...] = ()
    trials: tuple["Entry", ...] = ()
    trial_of: str | None = None
    choice: str = ""

    @property
    def evaluated(self) -> tuple["Entry", ...]:
        """The entries to train and evaluate: the trials of a tuned entry, otherwise the entry itself."""
        return self.trials or (self,)

    @property
    def pooling(self) -> Variant | None:
        """The variant that pools cells, or None."""
        return next((variant for variant in self.variants if variant.pools), None)

    @property
    def network_variants(self) -> tuple[Variant, ...]:
        """The variants of a single cell."""
        return tuple(variant for variant in self.variants if not variant.pools)

    @property
    def derivation(self) -> tuple[Variant | Calibrator, ...]:
        """What makes the entry's predictions of those of its trained cells, in order; usually nothing."""
        return (*self.network_variants, *self.member_calibrators, *(v for v in self.variants if v.pools))

    @property
    def methods(self) -> tuple[Method | Variant, ...]:
        """Recipe, variants and calibrators in order."""
        return (*self.recipe.methods, *self.derivation, *self.calibrators)

    @cached_property
    def name(self) -> str:
        """The row's name: the label, or the parts spelled in order without a default objective."""
        if self.label:
            return self.label
        name = " + ".join(part.spelled() for part in self.named_methods)
        if self.trial_of:
            return f"{self.trial_of}: {name}"
        return f"{name} (best of {len(self.trials)})" if self.trials else name

    @property
    def named_methods(self) -> tuple[Method | Variant, ...]:
        """The methods without the objective where it is the default one and something else names the entry."""
        implied = self.recipe.objective.identity() == self.recipe.default_objective().identity()
        return self.methods[1:] if implied and len(self.methods) > 1 else self.methods

    @cached_property
    def calibrator_name(self) -> str:
        """The chain of calibrators spelled, or ``none``."""
        return " + ".join(part.spelled() for part in self.calibrators) or "none"

    @cached_property
    def predictor_name(self) -> str:
        """Recipe and derivation spelled: what the calibrators are fitted on."""
        return " + ".join([self.recipe.name, *(part.spelled() for part in self.derivation)])


def calibration_line(entries: Iterable[Entry]) -> list[str]:
    """The sentence above every table that names the losses that read the calibration split in training, if any do."""
    objectives = [trial.recipe.objective for entry in entries for trial in entry.evaluated]
    names = dict.fromkeys(o.spec.name for o in objectives if isinstance(o, StatefulObjective) and o.reads_calibration)
    if not names:
        return []
    who = f"{' and '.join(names)} read{'s' if len(names) == 1 else ''}"
    return [
        f"In training, {who} the calibration split after every epoch; calibrators after such a loss are fitted on a"
        " split that took part in training."
    ]


def parse_entry(spec: Any, defaults: Defaults | None = None, tune: Any = None) -> Entry:
    """Read one entry of a suite.

    Args:
        spec: ``"focal + temperature-scaling"``, or ``{label: ..., methods: [...], tune: ...}`` with terms as
            `parse_term` reads.
        defaults: options by method name that the protocol sets.
        tune: how an entry that does not say so itself is tuned, as `Tuning.of` reads it.

    Raises:
        InputError: unknown names or options, or a combination that cannot work, with the reason.
    """
    label = None
    if isinstance(spec, Mapping) and "methods" in spec:
        unknown = set(spec) - {"label", "methods", "tune"}
        if unknown or not isinstance(spec["methods"], list):
            raise InputError(f"entry {spec!r}: expected the keys label, methods (a list) and tune")
        label, terms, tune = checked_label(spec.get("label")), spec["methods"], spec.get("tune", tune)
    elif isinstance(spec, str):
        terms = split_outside_brackets(spec, "+")
    else:
        terms = [spec]
    entry = _compose([make_component(term, _create, defaults) for term in terms], label)
    tuning = Tuning.of(tune)
    return _tuned(entry, [parse_term(term) for term in terms], tuning, defaults or {}) if tuning else entry


EVERY = {"every": "calibrator"}
"""The element of ``entries`` that is all of `default_calibrators`."""


def default_calibrators(*, features: bool = False, num_classes: int | None = None) -> list[Calibrator]:
    """Every registered calibrator that needs no option, and nothing that the predictions lack.

    Args:
        features: whether the predictions have features.
        num_classes: how many classes they have; None if not known, which leaves out calibrators for two.
    """
    absent = ({"features"} if not features else set()) | ({"binary"} if num_classes != 2 else set())
    chosen = []
    for name in registry:
        cls = registry[name]
        optional = len(option_defaults(cls)) == len(option_fields(cls))
        if issubclass(cls, Calibrator) and optional and not absent & cls.needs:
            chosen.append(registry.create(name))
    return chosen


def _tuned(entry: Entry, terms: list[Term], tuning: Tuning, defaults: Defaults) -> Entry:
    """The entry with its trials, or as it is where nothing of it is tuned."""
    terms = [(name, with_defaults(name, options, defaults)) for name, options in terms]
    settings = tuning.settings(terms)
    if len(settings) < 2:
        return entry
    name = entry.name if entry.label else f"{entry.name} (best of {len(settings)})"
    trials = []
    for filled, choice in settings:
        trial = _compose([_create(term, **options) for term, options in filled], None)
        trials.append(replace(trial, trial_of=name, choice=choice))
    return replace(entry, trials=tuple(trials))


def _create(name: str, **options: Any) -> Method | Variant:
    """Make a method or a variant; an unknown name is looked for among both."""
    known = variants if name in variants else registry
    if name not in known:
        check_names("method", [name], [*registry, *variants], registry.listing, registry.ending)
    return known.create(name, **options)


def _compose(parts: Iterable[Method | Variant], label: str | None) -> Entry:
    named = list(parts)
    chain, member_calibrators = _variants(named)
    of_members = {id(calibrator) for calibrator in member_calibrators}
    methods = [part for part in named if not isinstance(part, Variant) and id(part) not in of_members]
    spelled = " + ".join(method.spelled() for method in methods)
    by_kind: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for method in methods:
        by_kind[method.kind].append(method)
    for kind in ("objective", "head"):
        if len(by_kind[kind]) > 1:
            raise InputError(f"entry {spelled!r}: more than one {kind}; a recipe has at most one")
    head = by_kind["head"][0] if by_kind["head"] else None
    if by_kind["objective"]:
        objective = by_kind["objective"][0]
    else:
        objective = head.default_objective() if head else registry.create(DEFAULT_OBJECTIVE)
    mixing = [augmentation for augmentation in by_kind["augmentation"] if isinstance(augmentation, Augmentation)]
    if mixing and not objective.takes_soft_targets:
        raise InputError(
            f"entry {spelled!r}: {mixing[0].spec.name} makes soft targets, and the loss "
            f"{objective.spec.name} is defined for hard labels only"
        )
    _check_views(spelled, objective, by_kind["augmentation"])
    if "temperature" in objective.needs and head is None:
        raise InputError(f"entry {spelled!r}: the loss {objective.spec.name} needs a head with a temperature (tempnet)")
    recipe = Recipe(objective, tuple(by_kind["augmentation"]), head, tuple(by_kind["procedure"]))
    return Entry(recipe, tuple(by_kind["calibrator"]), label, chain, member_calibrators)


def _check_views(spelled: str, objective: Objective, augmentations: list[Method]) -> None:
    """Refuse what a loss over several views of a sample cannot be combined with."""
    views = [augmentation for augmentation in augmentations if isinstance(augmentation, ViewAugmentation)]
    staged = [augmentation for augmentation in augmentations if isinstance(augmentation, StagedAugmentation)]
    if len(staged) > 1:
        raise InputError(f"entry {spelled!r}: more than one augmentation of the stored images")
    if not views:
        return
    name = views[0].spec.name
    others = [one.spec.name for one in augmentations if one is not views[0] and not isinstance(one, StagedAugmentation)]
    if others:
        raise InputError(f"entry {spelled!r}: {name} makes views of the batch itself, and cannot follow {others[0]}")
    if isinstance(objective, StatefulObjective) or "temperature" in objective.needs:
        raise InputError(f"entry {spelled!r}: {name} combines several outputs of a sample, which {objective.spec.name} "
                         "does not take")  # fmt: skip


def _variants(parts: list[Method | Variant]) -> tuple[tuple[Variant, ...], tuple[Calibrator, ...]]:
    """The variants of an entry, and the calibrators before the one that pools.

    Raises:
        InputError: a variant after a calibrator that is not an ensemble's, or two that exclude each other.
    """
    chain = [part for part in parts if isinstance(part, Variant)]
    pooling = [place for place, part in enumerate(parts) if isinstance(part, Variant) and part.pools]
    names = [variant.spec.name for variant in chain]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"an entry has {name} at most once")
    if len(pooling) > 1 or (pooling and not chain[-1].pools):
        raise InputError(f"{chain[-1].spec.name} after {parts[pooling[0]].spec.name}: pooling comes last")
    several = [variant.spec.name for variant in chain if variant.passes > 1]
    if len(several) > 1:
        raise InputError(f"{several[0]} and {several[1]} both average passes; an entry has one of them")
    seen: list[Calibrator] = []
    for part in parts:
        if isinstance(part, Calibrator):
            seen.append(part)
        elif isinstance(part, Variant):
            if part.pools:
                return tuple(chain), tuple(seen)
            if seen:
                raise InputError(f"{part.spec.name} changes the network: it comes before {seen[0].spec.name}")
    return tuple(chain), ()
