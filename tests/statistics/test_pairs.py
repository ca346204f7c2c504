"""Pairs of entries: the same statistics as against a baseline, and Holm's adjustment over the pairs."""

import numpy as np
import pytest
from compared_entries import address, example, one, row, spread, table

from calbench.benchmark.core.schema import PAIR_COLUMNS
from calbench.benchmark.statistics import compare, compare_pairs
from calbench.benchmark.statistics.pairs import NO_SEED


def seeds_example():
    values = {"a": [4.0, 4.2, 4.1], "b": [3.0, 3.3, 3.1], "c": [3.05, 3.2, 3.2], "base": [5.0, 5.2, 4.9]}
    results = table(*(row(e, s, v) for e, by_seed in values.items() for s, v in enumerate(by_seed)))
    replicates = {
        address(e, s): {"ece": spread(v, shared=0.01)} for e, by_seed in values.items() for s, v in enumerate(by_seed)
    }
    return results, replicates


def test_a_pair_is_a_comparison_with_its_second_entry_as_the_baseline():
    results, replicates = seeds_example()
    pairs = [("a", "b"), ("b", "c"), ("c", "a")]
    found = compare_pairs(results, replicates, pairs)
    assert list(found) == PAIR_COLUMNS
    for (_, pair), (first, second) in zip(found.iterrows(), pairs, strict=True):
        assert (pair["first"], pair["second"], pair["seeds"]) == (first, second, 3)
        same = one(compare(results, replicates, second, expected_seeds=3), first)
        for column in ("change", "change_low", "change_high", "p"):
            assert pair[column] == same[column]
    changes = found["change"].tolist()
    assert changes[0] == pytest.approx(4.1 - 9.4 / 3)
    assert changes[0] + changes[1] + changes[2] == pytest.approx(0, abs=1e-12)


def test_p_values_are_adjusted_over_the_pairs_and_not_over_the_entries():
    found = compare_pairs(*seeds_example(), [("a", "b"), ("b", "c"), ("a", "base")])
    p = np.sort(found["p"].to_numpy())
    by_hand = np.minimum(np.maximum.accumulate(p * [3, 2, 1]), 1)  # Holm 1979
    assert np.sort(found["p_adjusted"].to_numpy()) == pytest.approx(by_hand)
    alone = compare_pairs(*seeds_example(), [("b", "c")])
    assert alone["p_adjusted"].tolist() == alone["p"].tolist()


def test_a_pair_without_a_common_seed_has_the_reason():
    results, replicates = example()
    found = compare_pairs(results, replicates, [("good", "absent"), ("absent", "gone"), ("good", "bad")])
    assert found["change_reason"].tolist()[:2] == [NO_SEED, NO_SEED]
    assert found["change"].isna().tolist() == [True, True, False]
    assert compare_pairs(results, replicates, [("absent", "gone")]).empty
    assert compare_pairs(results, replicates, []).empty


def test_without_replicates_the_change_remains_and_its_interval_has_a_reason():
    results, _ = example()
    (pair,) = compare_pairs(results, {}, [("good", "bad")]).to_dict("records")
    assert np.isfinite(pair["change"])
    assert np.isnan(pair["p"])
    assert pair["change_reason"]
