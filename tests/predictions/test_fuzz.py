"""Every reader of the engine, fed with damaged and hostile input: the documented error or a result, nothing else."""

import json

import pytest
import torch
import yaml
from examples import at_most
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.suite import Suite, load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.schema import COMPARISON_COLUMNS
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.tables import read_table
from calbench.benchmark.store.checked import unpack as read_packed
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.state import pack, unpack

KEY = "0123456789abcdef01234567"
BOUNDED = at_most(120, suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = """\
datasets: [digits]
backbones: [vit-micro]
entries: [cross-entropy, 'focal(gamma=2) + temperature-scaling', {label: X, methods: [calattn]}]
seeds: [0]
protocol: {name: clean, bins: 10}
training: {epochs: 1, milestones: [1]}
overrides: [{backbone: vit-micro, training: {lr: 0.1}}]
"""
WORDS = [
    *"{}[],:&*!|>'\"%@`#-\n\t \\\0é",
    "!!python/object:os.system",
    "<<: *a",
    "&a",
    "1e999",
    "-1",
    ".nan",
    "null",
    "../../x",
    "focal",
    "digits",
    "🙂",
]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [line.split(":")[0] for line in GOOD.splitlines()]


def suite_or_input_error(path):
    try:
        assert isinstance(load_suite(str(path)), Suite)
    except InputError as error:
        assert str(error)


@BOUNDED
@given(cut=st.integers(0, len(GOOD)), insert=st.lists(st.sampled_from(WORDS), max_size=3), drop=st.integers(0, 6))
def test_mutated_suites(tmp_path, cut, insert, drop):
    path = tmp_path / "fuzz.yaml"
    path.write_text(GOOD[:cut] + "".join(insert) + GOOD[cut + drop :], encoding="utf-8")
    suite_or_input_error(path)


@pytest.mark.slow
@BOUNDED
@given(field=st.sampled_from([*FIELDS, "tables", "smoke", "predictions", "baseline", "title"]), value=PLAIN)
def test_suites_with_anything_in_a_field(tmp_path, field, value):
    path = tmp_path / "fuzz.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(GOOD) | {field: value}), encoding="utf-8")
    suite_or_input_error(path)


@BOUNDED
@given(st.binary(max_size=200))
def test_suites_of_arbitrary_bytes(tmp_path, data):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    suite_or_input_error(path)


@BOUNDED
@given(PLAIN | st.lists(st.sampled_from(["focal", "(", ")", "=", "+", ",", "gamma", "2", "[", "'"])).map("".join))
def test_entries_of_anything(spec):
    try:
        parse_entry(spec)
    except InputError as error:
        assert str(error)


STATE = pack({"epoch": 1, "model": {"w": torch.ones(3)}, "list": [1, 2.5, None]})


@BOUNDED
@given(cut=st.integers(0, len(STATE)), insert=st.binary(max_size=9), drop=st.integers(0, 9))
def test_damaged_states(cut, insert, drop):
    try:
        unpack(STATE[:cut] + insert + STATE[cut + drop :])
    except ValueError as error:
        assert str(error)


@BOUNDED
@given(st.binary(max_size=60) | PLAIN.map(lambda value: json.dumps({"__metadata__": value}).encode()), st.booleans())
def test_metadata_of_anything(header, true_length):
    length = len(header) if true_length else 2**40
    try:
        read_packed(length.to_bytes(8, "little") + header)
    except ValueError as error:
        assert str(error)


@BOUNDED
@given(st.binary(max_size=60) | PLAIN.map(lambda value: json.dumps(value).encode()))
def test_manifests_of_anything(tmp_path, data):
    store = Store(tmp_path)
    store.folder.write(f"cache/{KEY}/manifest.json", data)
    with pytest.raises(DamagedError):
        store.manifest(KEY)
    assert store.verify()


@BOUNDED
@given(st.binary(max_size=80) | st.text(alphabet=',"\nab1', max_size=60).map(str.encode))
def test_tables_and_records_of_anything(tmp_path, data):
    (tmp_path / "results.csv").write_bytes(data)
    with pytest.raises(InputError):
        read_table(tmp_path / "results.csv", COMPARISON_COLUMNS)
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(InputError):
        Results.load(tmp_path)
