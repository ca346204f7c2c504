"""Counts in messages: singular and plural."""

import re
from pathlib import Path

import pytest

import calbench
from calbench.benchmark.core.text import counted
from calbench.benchmark.statistics.ranks import _too_few


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (1, ("dataset",), "1 dataset"), (0, ("dataset",), "0 datasets"), (2, ("class", "classes"), "2 classes"),
        (1, ("class", "classes"), "1 class"), (12_000, ("row",), "12,000 rows"),
    ],
)  # fmt: skip
def test_a_noun_has_the_number_of_its_count(number, nouns, text):
    assert counted(number, *nouns) == text


def test_one_dataset_is_too_few_and_two_are():
    assert _too_few(1).startswith("1 dataset is too few")
    assert _too_few(2).startswith("2 datasets are too few")


COUNTED = re.compile(r"(?<! of )\{(?:len\([^{}]*\)|blocks|count|rows|classes|samples|seeds|total)(?::,)?\} [a-z]+s\b")


def test_lengths_in_messages_of_reports_and_commands_are_counted_by_the_helper():
    folder = Path(calbench.__file__).parent.parent
    lines = [
        f"{path.name}: {line.strip()}"
        for place in ("report", "cli", "statistics", "execution")
        for path in sorted((folder / place).rglob("*.py"))
        for line in path.read_text().splitlines()
        if COUNTED.search(line) and "more than" not in line
    ]
    assert lines == []
