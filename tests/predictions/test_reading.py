"""Which arrays of a file are taken for what, and what is said where that is not plain."""

import numpy as np
import pandas as pd
import pytest
from prediction_files import NAMES, P, Y, Z, is_right, one, read, save, table

from calbench.benchmark.core.errors import InputError


@pytest.mark.parametrize("scores", ["logits", "Logits", "rawLogits", "pre-softmax", "output_logits"])
@pytest.mark.parametrize("labels", ["y_true", "TrueLabel", "y_test", "obs", "truth", "class", "targets", "gt labels"])
def test_names_are_compared_word_by_word(tmp_path, scores, labels):
    assert is_right(one(save(tmp_path / "a.npz", **{scores: Z, labels: Y})))


@pytest.mark.parametrize(
    "pattern",
    [
        "prob_{}",
        "prob_class_{}",
        "Prob {}",
        "probs.{}",
        "class_{}_prob",
        "p{}",
        "y_prob[{}]",
        "softmax{}",
        "pred_proba_{}",
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_columns_numbered_by_class(tmp_path, pattern, first):
    names = [pattern.format(k + first) for k in range(4)]
    path = table(tmp_path / "a.csv", P, names, label=Y + first, predicted_label=0, filename="x")
    splits, notes = read(path)
    assert is_right(splits["all"], "probabilities")
    assert len(notes) == first
    assert first == 0 or "labels count from 1" in notes[0]


def test_labels_that_count_from_0_next_to_columns_that_count_from_1(tmp_path):
    assert is_right(one(table(tmp_path / "a.csv", P, [f"prob_{k}" for k in range(1, 5)], label=Y)), "probabilities")


def test_a_column_is_not_replaced_by_one_whose_name_adds_a_number(tmp_path):
    wrong = (Y + 1) % 4
    for extra in ({"label_1": wrong}, {"label_1": wrong, "label_2": wrong}, {"label_0": wrong, "label_1": wrong}):
        assert is_right(one(table(tmp_path / "a.csv", Z, [f"logit_{k}" for k in range(4)], label=Y, **extra)))
    pred = {f"pred_{k}": Z[:, k] for k in range(4)}
    assert is_right(one(save(tmp_path / "a.npz", pred=wrong, labels=Y, **pred), kind="logits"))


def test_class_numbers_never_compete_with_scores(tmp_path):
    for name in ("pred", "preds", "prediction", "score"):
        assert is_right(one(save(tmp_path / "a.npz", **{name: Y, "logits": Z, "labels": Y})))
        assert is_right(
            one(save(tmp_path / "a.npz", **{name: Y.astype(float), "output": Z, "labels": Y}), kind="logits")
        )
    with pytest.raises(InputError, match="as class numbers; expected a score for each class"):
        one(save(tmp_path / "a.npz", labels=Y, pred=Y), kind="logits", logits_key="pred")


def test_logits_and_probabilities_side_by_side(tmp_path):
    assert is_right(one(save(tmp_path / "a.npz", logits=Z, probs=P, labels=Y)))
    assert is_right(one(save(tmp_path / "a.npz", logits=Z, probs=P, labels=Y), kind="probabilities"), "probabilities")
    with pytest.raises(InputError, match=r"both 'logits' and 'probs' could be .* Add --key NAME$"):
        one(save(tmp_path / "a.npz", logits=Z, probs=P[::-1], labels=Y))


def test_all_that_is_missing_is_said_at_once_and_the_option_last(tmp_path):
    with pytest.raises(InputError) as caught:
        one(table(tmp_path / "a.csv", P, [f"out_{k}" for k in range(4)], verdict=Y))
    assert str(caught.value) == (
        "a.csv: no labels are recognised; it is not clear whether 'out_0 ... out_3' is logits or probabilities (its "
        "rows sum to one, as probabilities do); the file has out_0 ... out_3 (float64 60 x 4), verdict (int64 60). "
        "Add --labels-key NAME or --labels FILE, and --logits or --probabilities"
    )
    assert is_right(one(tmp_path / "a.csv", kind="probabilities", labels_key="verdict"), "probabilities")


@pytest.mark.parametrize("options", [{"labels_key": "claen"}, {"logits_key": "logit"}, {"logits_key": "a,b"}])
def test_a_name_that_is_not_there_is_never_replaced(tmp_path, options):
    with pytest.raises(InputError, match=r"'(claen' .did you mean 'clean'|logit' .did you mean 'logits'|a,b')"):
        one(save(tmp_path / "a.npz", logits=Z, labels=Y, clean=Y), **options)


class TestHeaderless:
    def test_all_columns_are_scores_where_the_labels_are_elsewhere(self, tmp_path):
        np.savetxt(tmp_path / "z.csv", Z, delimiter=",")
        np.save(tmp_path / "y.npy", Y)
        assert is_right(one(tmp_path / "z.csv", kind="logits", labels_path=tmp_path / "y.npy"))

    def test_a_column_number_names_the_labels(self, tmp_path):
        np.savetxt(tmp_path / "z.csv", np.c_[Y, Z], delimiter=",")
        with pytest.raises(InputError, match="no header line.*--labels-key"):
            one(tmp_path / "z.csv", kind="logits")
        assert is_right(one(tmp_path / "z.csv", kind="logits", labels_key="0"))

    def test_the_numbers_that_pandas_gives_columns_are_a_header(self, tmp_path):
        pd.DataFrame(Z).to_csv(tmp_path / "z.csv", index=False)
        pd.DataFrame(Z).to_csv(tmp_path / "i.csv")
        np.save(tmp_path / "y.npy", Y)
        for name in ("z.csv", "i.csv"):
            numbers = one(tmp_path / name, kind="logits", labels_path=tmp_path / "y.npy")
            assert is_right(numbers)


@pytest.mark.parametrize("column", [0, 1, 3])
@pytest.mark.parametrize("row", [3, 59])
def test_a_word_in_a_column_of_scores_takes_no_class_away(tmp_path, column, row):
    names = [f"logit_{k}" for k in range(4)]
    frame = pd.DataFrame(Z, columns=names).astype(object).assign(label=1 + Y % 2)
    frame.iloc[row, column] = "abc"
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=f"a.csv: logit_{column}: row {row} is 'abc', not a number"):
        one(tmp_path / "a.csv")


def test_columns_of_the_first_guesses_in_words_are_no_scores(tmp_path):
    guesses = {f"pred_{n}": NAMES[np.argsort(-P, axis=1)[:, n - 1]] for n in (1, 2, 3)}
    assert is_right(
        one(table(tmp_path / "a.csv", P, [f"prob_{k}" for k in range(4)], label=Y, **guesses)), "probabilities"
    )
    assert is_right(
        one(table(tmp_path / "b.csv", Z, list("abcd"), label=Y, **guesses), logits_key="a,b,c,d", kind="logits")
    )


def test_two_columns_of_scores_with_one_name_are_the_reason(tmp_path):
    lines = ["label,prob_0,prob_0,prob_2,prob_3", *(f"{y},{','.join(map(str, p))}" for y, p in zip(Y, P, strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="columns 2 and 3 are both named 'prob_0'; rename one of them"):
        one(tmp_path / "a.csv")


@pytest.mark.parametrize("text", ["[CLS] hello [SEP]", "(see note)", "[/x]", "[]"])
def test_text_in_brackets_is_text(tmp_path, text):
    names = [f"logit_{k}" for k in range(4)]
    assert is_right(one(table(tmp_path / "a.csv", Z, names, label=Y, comment=[text] * len(Y))))
