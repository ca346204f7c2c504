"""The shape of ``run.json``, checked when it is read, and the checksums by which edits of a result's files show."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

AFFECTS_RESULTS = False
CHECKSUMS = "checksums"
Plain = dict[str, Any]
Text = Annotated[str, Field(max_length=1_000_000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Method(_Record):
    name: Text
    label: Text
    kind: Text
    paper: Text | None = None
    options: Plain = {}
    doc: Text = ""


class _Entry(_Record):
    entry: Text
    label: Text
    recipe: Text
    calibrator: Text
    families: list[Text] = []
    methods: list[_Method] = []


class _Cell(_Record):
    key: Text = ""
    dataset: Text
    backbone: Text
    recipe: Text
    seed: int
    status: Literal["done", "failed", "missing", "to evaluate"]
    reason: Text | None = None
    seconds: float | int | None = None
    parameters: int | None = None
    extra_parameters_percent: float | int | None = None
    note: Text | None = None


class _Metric(_Record):
    name: Text
    label: Text
    unit: Text = ""
    better: Text | None = None
    decimals: Annotated[int, Field(ge=0, le=20)] = 2
    needs: list[Text] = []


class _Config(_Record):
    tables: list[Any] = []
    reference: Text | None = None


class _Protocol(_Record):
    name: Text = ""
    checkpoint: Text = "last"


class _Run(_Record):
    suite: Text = ""
    title: Text = ""
    description: Text = ""
    calbench: Text = ""
    commit: Text | None = None
    created: Text = ""
    command: Text = ""
    versions: dict[str, Text] = {}
    config: _Config | None = None
    protocol: _Protocol | None = None
    protocol_text: list[Text] = []
    baseline: Text | None = None
    entries: list[_Entry] = []
    seeds: list[int] = []
    metrics: list[_Metric] = []
    datasets: list[Text] = []
    backbones: list[Text] = []
    cells: list[_Cell] = []
    notes: list[Text] = []
    inputs: Text = ""
    checksums: dict[str, Text] = {}


def problem(run: Plain) -> str | None:
    """What is wrong with a record of a run, in one line, or None."""
    try:
        _Run.model_validate(run)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


def checksums(run: Plain, files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of every file of a result by name, that of ``run.json`` without the checksums themselves."""
    rest = {name: value for name, value in run.items() if name != CHECKSUMS}
    text = json.dumps(rest, sort_keys=True)
    return {
        **{name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "run.json": hashlib.sha256(text.encode()).hexdigest(),
    }


def edited(run: Plain, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The files that are not as the run wrote them; none for results without checksums (of earlier versions)."""
    written = run.get(CHECKSUMS)
    if not written:
        return ()
    found = checksums(run, files)
    return tuple(name for name in found if found[name] != written.get(name))
