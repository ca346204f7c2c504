"""Builds and checks the parts of a suite; every error names the file and line that caused it."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from calbench.benchmark.config.backbone import make_backbone
from calbench.benchmark.config.entry import EVERY, Entry, default_calibrators, parse_entry
from calbench.benchmark.config.protocol import Protocol, make_protocol
from calbench.benchmark.config.references import check_reference
from calbench.benchmark.config.suite_file import Location, Where
from calbench.benchmark.config.suite_model import Suite, SuiteConfig
from calbench.benchmark.config.table_layout import parse_layout
from calbench.benchmark.config.terms import Defaults, make_component
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.config.validation import reason_of, validated
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.metrics import registry as metric_registry
from calbench.datasets import Dataset
from calbench.datasets import registry as dataset_registry
from calbench.methods import BackboneInfo

T = TypeVar("T")


class Checker:
    """Makes the parts of a suite, so that every error names the file and line it comes from."""

    def __init__(self, where: Where, config: SuiteConfig) -> None:
        self.where = where
        self.config = config

    def suite(self, name: str) -> Suite:
        """The checked suite; an `InputError` names the file and line of what is wrong."""
        config = self.config
        protocol = self._at(("protocol",), lambda: _protocol(config.protocol))
        datasets = self._each("datasets", lambda term: make_component(term, dataset_registry.create))
        if config.ood is not None:
            ood = config.ood
            datasets = self._at(("ood",), lambda: tuple(ood.restrict(dataset) for dataset in datasets))
        nets = self._each("backbones", make_backbone)
        read = partial(_entries, defaults=protocol.method_defaults, tune=config.tune)
        entries = tuple(itertools.chain.from_iterable(self._each("entries", read)))
        read_baseline = partial(parse_entry, config.baseline, protocol.method_defaults, config.tune)
        baseline = self._at(("baseline",), read_baseline)
        if baseline.name not in [entry.name for entry in entries]:
            entries = (baseline, *entries)
        seeds = list(range(config.seeds)) if isinstance(config.seeds, int) else config.seeds
        suite = Suite(name, config, datasets, nets, entries, baseline.name, tuple(dict.fromkeys(seeds)), protocol)
        places = tuple(self.where(("datasets", i)) for i in range(len(datasets)))
        suite = replace(suite, pairs=self._each("pairs", partial(self._pair, suite)), dataset_places=places)
        self._combinations(suite)
        named = [part.spelled() for part in (*datasets, *nets)]
        if not config.predictions:
            self._at(("labels",), lambda: check_names("dataset or backbone", config.labels, named))
        return suite

    def _combinations(self, suite: Suite) -> None:
        self._presence(suite)
        self._names(suite)
        self._at(("overrides",), lambda: self._overrides(suite))
        for field, options in (("shift", self.config.shift), ("ood", self.config.ood)):
            if options is None:
                continue
            for dataset in suite.datasets:
                self._at((field,), lambda o=options, d=dataset: o.check(d))
        reference = self.config.reference
        if reference is not None:
            self._at(("reference",), lambda: check_reference(reference))
        for i, table in enumerate(self.config.tables):
            self._at(("tables", i), lambda t=table, n=f"tables.{i}": parse_layout(t, n))
        for i, dataset in enumerate(suite.datasets):
            self._at(("datasets", i), lambda d=dataset: (d.num_classes, d.channels, d.image_size))  # may read its files
            for backbone in suite.backbones:
                training = self._at(("training",), lambda d=dataset, b=backbone: suite.training_for(d, b))
                info = self._at(("backbones",), lambda d=dataset, b=backbone: b.info(d))
                self._at(("training",), lambda t=training, i=info: _curve_check(t, i))
                for i, row in enumerate(suite.entries):
                    for entry in row.evaluated:
                        self._at(("entries", i), lambda e=entry, p=(info, dataset, training): self._entry(suite, e, *p))

    def _presence(self, suite: Suite) -> None:
        if bool(suite.datasets) != bool(suite.backbones):
            raise InputError(f"{self.where(())}: datasets and backbones go together; one of them is empty")
        if not suite.datasets and not self.config.predictions:
            raise InputError(f"{self.where(())}: name datasets and backbones, or predictions")

    def _names(self, suite: Suite) -> None:
        for field in ("datasets", "backbones", "entries"):
            names = [getattr(part, "name", None) or part.spelled() for part in getattr(suite, field)]
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise InputError(f"{self.where((field, i))}: {name!r} is named twice")

    def _entry(
        self, suite: Suite, entry: Entry, backbone: BackboneInfo, dataset: Dataset, training: TrainingConfig
    ) -> None:
        """Check one entry on one backbone and dataset."""
        entry.recipe.check(backbone)
        if training.epochs == 0 and not entry.recipe.is_plain:
            raise InputError(f"{entry.name!r} acts in training, and training.epochs is 0")
        self._variants(suite, entry, backbone, dataset, training)
        if training.micro_batch and "whole-batch" in entry.recipe.objective.needs:
            raise InputError(f"training.micro_batch splits a batch, and the loss of {entry.name!r} cannot")
        if any("binary" in method.needs for method in entry.methods) and dataset.num_classes != 2:
            raise InputError(f"{entry.name!r} works for two classes only")

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

    def _pair(self, suite: Suite, pair: tuple[Any, Any]) -> tuple[str, str]:
        """The names of two different entries of the suite, each given by its label or its methods."""
        known = [entry.name for entry in suite.entries]
        read = partial(parse_entry, defaults=suite.protocol.method_defaults, tune=self.config.tune)
        first, second = (one if one in known else read(one).name for one in pair)
        check_names("entry of a pair", [first, second], known)
        if first == second:
            raise InputError(f"a pair of {first!r} with itself")
        return first, second

    def _overrides(self, suite: Suite) -> None:
        for override in self.config.overrides:
            validated(TrainingConfig, override.training, "training")
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


def _entries(spec: Any, defaults: Defaults, tune: Any) -> tuple[Entry, ...]:
    """The entries that one element of the list stands for."""
    specs = [one.spelled() for one in default_calibrators()] if spec == EVERY else [spec]
    return tuple(parse_entry(one, defaults, tune) for one in specs)


def _protocol(spec: str | dict[str, Any]) -> Protocol:
    try:
        protocol = make_protocol(spec)
    except ValidationError as error:
        raise InputError(f"protocol: {reason_of(Protocol, error)}") from None
    check_names("metric", protocol.metrics, metric_registry)
    for name in protocol.metrics:
        if "out-of-distribution" in metric_registry[name].needs:
            raise InputError(f"protocol.metrics: {name} is taken of every out-of-distribution split by itself")
    return protocol


def _curve_check(training: TrainingConfig, backbone: BackboneInfo) -> None:
    """Raise an `InputError` where the attention of a network without any is to be recorded."""
    if training.attention_curve and not backbone.has_patch_tokens:
        raise InputError(f"attention_curve records the entropy of attention, and {backbone.name} has no attention")
