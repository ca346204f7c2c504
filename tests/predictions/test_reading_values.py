"""The numbers themselves: probabilities, logits, and what is refused with advice."""

import json

import numpy as np
import pandas as pd
import pytest
from prediction_files import RNG, P, Y, Z, one, read, save

from calbench.benchmark.core.errors import InputError


class TestProbabilities:
    def test_stay_what_they_are(self, tmp_path):
        votes = RNG.multinomial(20, [0.2, 0.3, 0.5], size=60) / 20
        numbers = one(save(tmp_path / "a.npz", probs=votes, labels=Y % 3))
        assert numbers.scores.dtype == np.float64
        np.testing.assert_array_equal(numbers.scores, votes)

    @pytest.mark.parametrize(
        ("values", "hint"),
        [(100 * P, "per cent"), (np.round(P, 2), "rounded"), (np.float32(np.float16(P)) * 1.0004, "rounded")],
    )
    def test_are_normalised_where_the_user_says_so(self, tmp_path, values, hint):
        save(tmp_path / "a.npz", probs=values, labels=Y)
        with pytest.raises(InputError, match=rf"sums to .*{hint}\? Add --normalize"):
            one(tmp_path / "a.npz")
        splits, notes = read(tmp_path / "a.npz", normalize=True)
        np.testing.assert_allclose(splits["all"].scores, values / values.sum(1, keepdims=True, dtype=float))
        assert "of 60 rows did not sum to one" in notes[0]

    def test_of_half_precision_name_the_row_that_is_wrong_not_one_within_their_tolerance(self, tmp_path):
        values = np.full((60, 3), 1 / 3, np.float16)
        values[2] *= 1.004
        values[7, 0] = 0.4
        with pytest.raises(InputError, match="row 7 sums to 1.06"):
            one(save(tmp_path / "a.npz", probs=values, labels=Y % 3))

    @pytest.mark.parametrize("values", [np.log(P), np.where(P[3, 1] == P, np.nan, P), Z])
    def test_that_are_none(self, tmp_path, values):
        with pytest.raises(InputError, match=r"probabilities: row \d+ (contains .*below 0|contains NaN)"):
            one(save(tmp_path / "a.npz", probs=values, labels=Y), normalize=True)

    def test_zeros_are_counted(self, tmp_path):
        hard = np.eye(4)[(Y + (np.arange(60) < 3)) % 4]
        _, notes = read(save(tmp_path / "a.npz", probs=hard, labels=Y))
        assert notes[0].startswith("a.npz: 3 of 60 rows give their own class a probability of 0")


class TestLogits:
    def test_keep_their_differences_where_float32_would_lose_them(self, tmp_path):
        exact = Z.astype(np.float64) + 1e7
        numbers = one(save(tmp_path / "a.npz", logits=exact, labels=Y))
        assert numbers.scores.dtype == np.float64
        np.testing.assert_array_equal(numbers.scores, exact)
        assert one(save(tmp_path / "a.npz", logits=Z.astype(np.float64), labels=Y)).scores.dtype == np.float32
        tied = np.array([[0.1, 0.1 + 1e-12], [1, 0]])
        assert one(save(tmp_path / "a.npz", logits=tied, labels=[1, 0])).scores.argmax(1).tolist() == [1, 0]

    def test_of_extended_precision(self, tmp_path):
        wide = Z.astype(np.longdouble) + np.longdouble(2) ** 30
        numbers = one(save(tmp_path / "a.npz", logits=wide, labels=Y))
        np.testing.assert_allclose(numbers.scores, Z - Z.max(1, keepdims=True), atol=1e-6)

    def test_with_a_row_of_nan(self, tmp_path):
        with pytest.raises(InputError, match="logits: row 7 contains NaN or infinite values"):
            one(save(tmp_path / "a.npz", logits=np.where(np.arange(60)[:, None] == 7, -np.inf, Z), labels=Y))


def test_scores_with_percent_signs_and_thousands_are_refused_with_advice(tmp_path):
    pd.DataFrame({f"prob_{k}": [f"{100 * p:.3f}%" for p in P[:, k]] for k in range(4)}).assign(label=Y).to_csv(
        tmp_path / "a.csv", index=False
    )
    with pytest.raises(InputError, match="prob_0: row 0 is '.*%', not a number; write plain numbers, without %"):
        one(tmp_path / "a.csv")


def test_a_mask_by_the_least_number_of_float64_stays_finite(tmp_path):
    logits = np.insert(Z.astype(np.float64), 2, np.finfo(np.float64).min, axis=1)
    numbers = one(save(tmp_path / "a.npz", logits=logits, labels=Y + (Y >= 2)))
    assert np.isfinite(numbers.scores).all()
    np.testing.assert_array_equal(numbers.scores, logits)


def test_masked_logits_get_advice_and_damaged_ones_none(tmp_path):
    masked, damaged = Z.copy(), Z.copy()
    masked[:, 2], damaged[5, 2] = -np.inf, np.nan
    with pytest.raises(InputError, match="row 0 .*; for classes that are masked, write a finite number such as -1e4"):
        one(save(tmp_path / "a.npz", logits=masked, labels=Y))
    with pytest.raises(InputError, match="row 5 .* infinite values$"):
        one(save(tmp_path / "a.npz", logits=damaged, labels=Y))


def test_normalize_is_not_ignored_for_logits(tmp_path):
    with pytest.raises(InputError, match="--normalize is for probabilities, and logits is read as logits"):
        one(save(tmp_path / "a.npz", logits=Z, labels=Y), normalize=True)


@pytest.mark.parametrize("short", [0, 5, 58])
def test_rows_of_different_lengths_in_json_are_the_reason(tmp_path, short):
    rows = [
        {"probs": list(p)[: 3 if n == short else 4], "label": int(y)} for n, (p, y) in enumerate(zip(P, Y, strict=True))
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match="probs is a list of rows that differ in length"):
        one(tmp_path / "a.json")


def test_a_rounding_below_zero_counts_as_zero_in_the_note(tmp_path):
    scores = np.full((4, 3), [0.50005, 0.5, -5e-5])
    [_, notes] = read(save(tmp_path / "a.npz", probs=scores, labels=[2, 0, 1, 2]))
    assert any("2 of 4 rows give their own class a probability of 0" in line for line in notes)


def test_a_column_of_lists_that_are_not_of_numbers_is_text_and_the_others_are_read(tmp_path):
    rows = [f'{",".join(map(str, z))},{y},"[null, 2]"' for z, y in zip(Z, Y, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["logit_0,logit_1,logit_2,logit_3,label,boxes", *rows]))
    np.testing.assert_allclose(one(tmp_path / "a.csv").scores, Z, rtol=1e-6)
