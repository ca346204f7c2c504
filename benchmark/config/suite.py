"""A suite: datasets, backbones, entries, seeds, protocol and training in a YAML file, checked whole at the start."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.backbone import make_backbone
from calbench.benchmark.config.entry import Entry, make_component, parse_entry
from calbench.benchmark.config.protocol import Protocol, make_protocol
from calbench.benchmark.config.publication import read_publication
from calbench.benchmark.config.references import check_reference
from calbench.benchmark.config.shift import OODOptions, ShiftOptions
from calbench.benchmark.config.suite_file import (
    RESERVED_NAMES,
    Location,
    Where,
    apply_setting,
    parse_mapping,
    read_suite,
)
from calbench.benchmark.config.table_layout import parse_layout
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.core.errors import InputError, check_names, nearest
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.metrics import registry as metric_registry
from calbench.datasets import Dataset
from calbench.datasets import registry as dataset_registry
from calbench.methods import BackboneInfo

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
LONGEST_PART = 60
"""Characters of the description of a part in a name; a longer one is replaced by its hash."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,+@=-]*")
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Override(BaseModel):
    """Training options for one backbone, dataset or both; they hold for every entry alike."""

    model_config = ConfigDict(extra="forbid")
    backbone: str | None = None
    dataset: str | None = None
    training: dict[str, Any]


class PredictionSource(BaseModel):
    """A file of predictions in place of training: see `calbench.benchmark.predictions.files`.

    ``split`` is the share of rows that the calibration split takes where the file has one split and there is no
    ``test_path``; ``recipe`` names the training-time methods that made the predictions (cross-entropy by default), so
    that entries with that recipe are evaluated on them; the other options say what cannot be recognised by name.
    ``{publication: ADDRESS}`` stands for all files that `calbench publish` wrote there; it fills in the last three.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    dataset: str
    backbone: str
    test_path: str | None = None
    recipe: str = "cross-entropy"
    kind: Literal["logits", "probabilities"] | None = None
    key: str | None = None
    labels_key: str | None = None
    labels_path: str | None = None
    classes: tuple[str, ...] = ()
    normalize: bool = False
    split: Annotated[float, Field(gt=0, lt=1)] = 0.5
    publication: str | None = None
    sha256: str | None = None
    seed: int | None = None


class SuiteConfig(BaseModel):
    """A suite as written.

    ``keep: weights`` keeps the weights of every trained cell next to its predictions, for variants and diagnostics; it
    changes no prediction, and is no part of a cell's key. ``shift`` and ``ood`` ask for further splits, which every
    cell predicts after its training. ``tune: 4`` tries four settings of every entry with options to tune and shows the
    one with the lowest NLL of the calibration split; see `calbench.benchmark.config.tuning`.
    """

    model_config = ConfigDict(extra="forbid")
    title: str = ""
    description: str = ""
    datasets: list[Any] = []
    backbones: list[Any] = []
    predictions: list[PredictionSource] = []
    entries: Annotated[list[Any], Field(min_length=1)]
    tune: Any = None
    baseline: Any = "cross-entropy"
    seeds: Annotated[list[Seed], Field(min_length=1)] | Annotated[int, Field(ge=1, le=10_000)] = [0]
    protocol: str | dict[str, Any] = "clean"
    training: dict[str, Any] = {}
    keep: Literal["weights"] | None = None
    shift: ShiftOptions | None = None
    ood: OODOptions | None = None
    overrides: list[Override] = []
    tables: list[Any] = []
    reference: str | None = None
    smoke: dict[str, Any] = {}


@dataclass(frozen=True)
class Suite:
    """A checked suite."""

    name: str
    config: SuiteConfig
    datasets: tuple[Dataset, ...]
    backbones: tuple[Backbone, ...]
    entries: tuple[Entry, ...]
    baseline: str
    seeds: tuple[int, ...]
    protocol: Protocol

    def called(self, name: str) -> "Suite":
        """The same suite under another name, that of its results.

        Raises:
            InputError: the name cannot be that of a folder.
        """
        if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise InputError(
                f"name {name!r}: use letters, digits and . _ - + @ =, and none of {', '.join(RESERVED_NAMES)}"
            )
        return replace(self, name=name)

    def training_for(self, dataset: Dataset, backbone: Backbone) -> TrainingConfig:
        """The training options of one dataset and backbone: protocol, then suite, then the overrides that match."""
        options = {**self.protocol.training, **self.config.training}
        for override in self.config.overrides:
            if override.backbone in (None, backbone.spec.name, backbone.spelled()) and override.dataset in (
                None,
                dataset.spec.name,
                dataset.spelled(),
            ):
                options.update(override.training)
        return _validated(TrainingConfig, options, "training")


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
        entries: run these alone (and the baseline), in place of the suite's.
        seeds: run these in place of the suite's.
        smoke: take the fields under ``smoke`` in place of the suite's own: the same code in seconds, on generated data.
            The suite is then called ``<name>-smoke``.

    Raises:
        InputError: anything wrong, with file and line where there is one.
    """
    name, text, origin = read_suite(source)
    options = SuiteConfig.model_fields
    raw, in_file = parse_mapping(text, origin, options)
    given = {}
    if smoke:
        if not isinstance(raw.get("smoke"), dict) or not raw["smoke"]:
            raise InputError(f"{origin}: the suite has no smoke form")
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

    def where(location: Location) -> str:
        return given.get(location[0] if location else "") or in_file(location)

    try:
        if isinstance(raw.get("predictions"), list):
            raw["predictions"] = _expand_publications(raw["predictions"], where)
        config = SuiteConfig(**raw)
    except ValidationError as error:
        raise InputError(f"{where(error.errors()[0]['loc'])}: {_reason(SuiteConfig, error)}") from None
    return _Checker(where, config).suite(name)


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
    words = ",".join(re.sub(r"[^A-Za-z0-9.=+-]+", "-", change.replace(" ", "")).strip("-") for change in changes)
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


class _Checker:
    """Makes the parts of a suite, so that every error names the file and line it comes from."""

    def __init__(self, where: Where, config: SuiteConfig) -> None:
        self.where = where
        self.config = config

    def suite(self, name: str) -> Suite:
        config = self.config
        protocol = self._at(("protocol",), lambda: _protocol(config.protocol))
        datasets = self._each("datasets", lambda term: make_component(term, dataset_registry.create))
        if config.ood is not None:
            ood = config.ood
            datasets = self._at(("ood",), lambda: tuple(ood.restrict(dataset) for dataset in datasets))
        nets = self._each("backbones", make_backbone)
        entries = self._each("entries", lambda spec: parse_entry(spec, protocol.method_options, config.tune))
        read_baseline = partial(parse_entry, config.baseline, protocol.method_options, config.tune)
        baseline = self._at(("baseline",), read_baseline)
        if baseline.name not in [entry.name for entry in entries]:
            entries = (baseline, *entries)
        seeds = list(range(config.seeds)) if isinstance(config.seeds, int) else config.seeds
        suite = Suite(name, config, datasets, nets, entries, baseline.name, tuple(dict.fromkeys(seeds)), protocol)
        self._combinations(suite)
        return suite

    def _combinations(self, suite: Suite) -> None:
        if bool(suite.datasets) != bool(suite.backbones):
            raise InputError(f"{self.where(())}: datasets and backbones go together; one of them is empty")
        if not suite.datasets and not self.config.predictions:
            raise InputError(f"{self.where(())}: name datasets and backbones, or predictions")
        for field in ("datasets", "backbones", "entries"):
            names = [getattr(part, "name", None) or part.spelled() for part in getattr(suite, field)]
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise InputError(f"{self.where((field, i))}: {name!r} is named twice")
        self._at(("overrides",), lambda: self._overrides(suite))
        for field, options in (("shift", self.config.shift), ("ood", self.config.ood)):
            for dataset in suite.datasets if options is not None else ():
                self._at((field,), lambda o=options, d=dataset: o.check(d))
        if self.config.reference is not None:
            self._at(("reference",), lambda: check_reference(self.config.reference))
        for i, table in enumerate(self.config.tables):
            self._at(("tables", i), lambda t=table, n=f"tables.{i}": parse_layout(t, n))
        for dataset in suite.datasets:
            for backbone in suite.backbones:
                training = self._at(("training",), lambda d=dataset, b=backbone: suite.training_for(d, b))
                info = self._at(("backbones",), lambda d=dataset, b=backbone: b.info(d))
                for i, entry in [(i, one) for i, row in enumerate(suite.entries) for one in row.evaluated]:
                    self._at(("entries", i), lambda e=entry, n=info: e.recipe.check(n))
                    if training.epochs == 0 and not entry.recipe.is_plain:
                        place = self.where(("entries", i))
                        raise InputError(f"{place}: {entry.name!r} acts in training, and training.epochs is 0")
                    self._at(("entries", i), lambda e=entry, p=(info, dataset, training): self._variants(suite, e, *p))
                    if training.micro_batch and "whole-batch" in entry.recipe.objective.needs:
                        place = self.where(("training",))
                        raise InputError(f"{place}: micro_batch splits a batch, and the loss of {entry.name!r} cannot")
                    if any("binary" in method.needs for method in entry.methods) and dataset.num_classes != 2:
                        raise InputError(f"{self.where(('entries', i))}: {entry.name!r} works for two classes alone")

    def _variants(
        self, suite: Suite, entry: Entry, backbone: BackboneInfo, dataset: Dataset, training: TrainingConfig
    ) -> None:
        """Check the variants of an entry where they are to be predicted."""
        for variant in entry.variants:
            variant.check(backbone, dataset)
        if entry.network_variants and training.epochs and self.config.keep != "weights":
            raise InputError(f"{entry.network_variants[0].spec.name} predicts with kept weights; set keep: weights")
        if entry.pooling is None:
            return
        if len(suite.seeds) < (entry.pooling.options().get("members") or 2):
            raise InputError(f"{entry.pooling.spelled()} pools more seeds than the suite has ({len(suite.seeds)})")
        if entry.calibrators and suite.protocol.calibration_seed is None:
            raise InputError(
                f"{entry.name!r} calibrates after pooling, on a split that no member may be trained on; set "
                f"protocol.calibration_seed, or calibrate the members: {entry.calibrators[0].spelled()} + ensemble"
            )

    def _overrides(self, suite: Suite) -> None:
        for override in self.config.overrides:
            check_names("training option", override.training, TrainingConfig.model_fields)
            for word, parts in (("backbone", suite.backbones), ("dataset", suite.datasets)):
                known = {n for part in parts for n in (part.spec.name, part.spelled())}
                check_names(f"{word} of an override", [n for n in [getattr(override, word)] if n], sorted(known))

    def _each(self, field: str, make: Callable[[Any], T]) -> tuple[T, ...]:
        return tuple(self._at((field, i), lambda t=term: make(t)) for i, term in enumerate(getattr(self.config, field)))

    def _at(self, location: Location, make: Callable[[], T]) -> T:
        try:
            return make()
        except InputError as error:
            raise InputError(f"{self.where(location)}: {error}") from error


def _protocol(spec: str | dict[str, Any]) -> Protocol:
    try:
        protocol = make_protocol(spec)
    except ValidationError as error:
        raise InputError(f"protocol: {_reason(Protocol, error)}") from None
    check_names("metric", protocol.metrics, metric_registry)
    for name in protocol.metrics:
        if "out-of-distribution" in metric_registry[name].needs:
            raise InputError(f"protocol.metrics: {name} is taken of every out-of-distribution split by itself")
    return protocol


def _validated(model: type[Model], options: dict[str, Any], what: str) -> Model:
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise InputError(f"{what}: {_reason(model, error)}") from None


def _reason(model: type[BaseModel], error: ValidationError) -> str:
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
