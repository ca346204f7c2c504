"""An unknown name gives one line that helps: the nearest name, or a list that can be read."""

import pytest

from calbench.benchmark.core.errors import LISTED, InputError, check_names

MANY = [f"name-{number}" for number in range(LISTED + 3)]


@pytest.mark.parametrize(
    ("known", "listing", "given", "message"),
    [
        (["a", "b"], "", "z", "unknown metric 'z'; known: a, b"),
        ([], "", "z", "unknown metric 'z'; known: none"),
        (
            ["ece", "nll"],
            "list metrics",
            "ecee",
            "unknown metric 'ecee' (did you mean 'ece'?); `list metrics` lists all",
        ),
        (["ece", "nll"], "list metrics", "zzz", "unknown metric 'zzz'; known: ece, nll"),
        (
            ["ece", "cifar10"],
            "",
            "CIFAR-10",
            "unknown metric 'CIFAR-10' (did you mean 'cifar10'?); known: ece, cifar10",
        ),
        (MANY, "list metrics", "zzz", "unknown metric 'zzz'; `list metrics` lists all"),
        (MANY, "", "zzz", f"unknown metric 'zzz'; known: {', '.join(MANY[:LISTED])} and 3 more"),
    ],
)
def test_an_unknown_name(known, listing, given, message):
    with pytest.raises(InputError) as raised:
        check_names("metric", ["ece" if "ece" in known else given, given], known, listing)
    assert str(raised.value) == message


def test_known_names_pass():
    check_names("metric", ["ece", "nll"], iter(["nll", "ece"]))
