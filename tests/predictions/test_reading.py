"""Which arrays of a file are taken for what, and what is said where that is not plain."""

import json

import numpy as np
import pandas as pd
import pytest

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.reading import read_numbers, read_pair_numbers, stratified_order
from calbench.benchmark.predictions.source import Source

RNG = np.random.default_rng(2)
Z = RNG.normal(size=(60, 4)).astype(np.float32)
P = np.exp(Z.astype(np.float64)) / np.exp(Z.astype(np.float64)).sum(1, keepdims=True)
Y = RNG.integers(0, 4, 60)
Y[:4] = range(4)
NAMES = np.array(["VF", "F", "M", "L"])


def read(path, **options):
    """The splits of a file, and the notes."""
    notes = []
    return read_numbers(path, Source(**options), notes.append), notes


def one(path, **options):
    [numbers] = read(path, **options)[0].values()
    return numbers


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def table(path, scores, names, **columns):
    frame = pd.DataFrame(np.asarray(scores), columns=names)
    frame.assign(**columns).to_csv(path, index=False)
    return path


def is_right(numbers, kind="logits"):
    np.testing.assert_allclose(numbers.scores, Z if kind == "logits" else P, atol=1e-6)
    np.testing.assert_array_equal(numbers.labels, Y)
    assert numbers.kind == kind
    return True


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


class TestClasses:
    def test_columns_named_by_the_classes_of_the_labels(self, tmp_path):
        path = table(tmp_path / "a.csv", P, NAMES, obs=NAMES[Y], fold="Fold01", weight=0.5)
        assert is_right(one(path), "probabilities")
        assert is_right(one(path, logits_key="VF,F,M,L"), "probabilities")
        assert is_right(one(path, logits_key="VF:L"), "probabilities")

    @pytest.mark.parametrize("pattern", ["prob_{}", "{}_prob", ".pred_{}", "logit_{}", "Prob-{}"])
    def test_with_a_known_word_before_or_after(self, tmp_path, pattern):
        scores = Z if "logit" in pattern else P
        path = table(tmp_path / "a.csv", scores, [pattern.format(n) for n in NAMES], truth=NAMES[Y], age=1.5)
        kind = "probabilities" if "pred" in pattern else None
        assert is_right(one(path, kind=kind), "logits" if "logit" in pattern else "probabilities")

    def test_a_class_without_labels_keeps_its_column(self, tmp_path):
        rows = Y != 2
        numbers = one(table(tmp_path / "a.csv", P[rows], NAMES, obs=NAMES[Y[rows]]))
        assert numbers.scores.shape == (rows.sum(), 4)
        np.testing.assert_array_equal(numbers.labels, Y[rows])

    def test_names_in_the_file_or_in_an_option(self, tmp_path):
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, labels=NAMES[Y], class_names=NAMES)))
        save(tmp_path / "b.npz", logits=Z, labels=NAMES[Y])
        assert is_right(one(tmp_path / "b.npz", classes=tuple(NAMES)))
        with pytest.raises(InputError, match=r"got names \(.*in the order of the columns \(--classes A,B,C\)$"):
            one(tmp_path / "b.npz")
        with pytest.raises(InputError, match="--classes has 3 names, and there are 4 classes"):
            one(tmp_path / "b.npz", classes=("VF", "F", "M"))
        with pytest.raises(InputError, match="row 1 is 'F', no class"):
            one(tmp_path / "b.npz", classes=("VF", "G", "M", "L"))

    def test_numbers_with_whole_columns_named_by_the_user(self, tmp_path):
        path = table(tmp_path / "a.csv", P, NAMES, obs=Y)
        assert is_right(one(path, logits_key="VF,F,M,L"), "probabilities")
        with pytest.raises(InputError, match="no column is named 'X'"):
            one(path, logits_key="VF,F,M,X")

    def test_class_numbers_and_names_side_by_side(self, tmp_path):
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, label=NAMES[Y], label_id=Y)))
        with pytest.raises(InputError, match="both 'label' and 'target' could be the labels.*--labels-key NAME"):
            one(save(tmp_path / "a.npz", logits=Z, label=Y, target=(Y + 1) % 4))
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, label=Y, target=Y.astype(float))))


class TestLabels:
    @pytest.mark.parametrize(
        "labels",
        [Y.astype(np.uint16), Y[:, None], Y[None], Y.astype(float), np.eye(4)[Y], Y.astype(str), Y.astype(object)],
    )
    def test_of_every_form(self, tmp_path, labels):
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, labels=labels)))

    def test_one_hot_columns(self, tmp_path):
        hot = {f"label_{k}": np.eye(4, dtype=int)[Y][:, k] for k in range(4)}
        assert is_right(one(table(tmp_path / "a.csv", Z, [f"logit_{k}" for k in range(4)], **hot)))

    def test_several_per_row(self, tmp_path):
        with pytest.raises(InputError, match="several labels per row are not supported"):
            one(save(tmp_path / "a.npz", logits=Z, labels=np.ones((60, 4))))

    def test_that_count_from_one(self, tmp_path):
        save(tmp_path / "a.npz", logits=Z, labels=Y + 1)
        with pytest.raises(InputError, match="holds 4, outside 0..3; classes are counted from 0.*--labels-from 1"):
            one(tmp_path / "a.npz")
        assert is_right(one(tmp_path / "a.npz", labels_from=1))
        with pytest.raises(InputError, match="row 0 holds 0, outside 1..4"):
            one(save(tmp_path / "b.npz", logits=Z, labels=Y), labels_from=1)

    def test_in_a_file_of_their_own(self, tmp_path):
        np.save(tmp_path / "z.npy", Z)
        for name, write in {
            "y.npy": lambda p: np.save(p, Y),
            "plain.csv": lambda p: pd.Series(Y).to_csv(p, index=False, header=False),
            "pandas.csv": lambda p: pd.Series(Y).to_csv(p, index=False),
            "named.csv": lambda p: pd.DataFrame({"verdict": Y}).to_csv(p, index=False),
            "more.csv": lambda p: pd.DataFrame({"id": range(60), "label": Y, "note": "x"}).to_csv(p, index=False),
            "y.txt": lambda p: np.savetxt(p, Y),
            "y.npz": lambda p: np.savez(p, labels=Y, other=Z),
        }.items():
            write(tmp_path / name)
            assert is_right(one(tmp_path / "z.npy", kind="logits", labels_path=tmp_path / name)), name
        pd.DataFrame({"a": Y, "b": Y}).to_csv(tmp_path / "two.csv", index=False)
        with pytest.raises(
            InputError, match=r"^two\.csv: no labels are recognised; the file has a .* Add --labels-key"
        ):
            one(tmp_path / "z.npy", kind="logits", labels_path=tmp_path / "two.csv")
        assert is_right(one(tmp_path / "z.npy", kind="logits", labels_path=tmp_path / "two.csv", labels_key="b"))

    def test_a_file_of_labels_wins_over_a_column(self, tmp_path):
        np.save(tmp_path / "y.npy", Y)
        path = table(tmp_path / "a.csv", Z, [f"logit_{k}" for k in range(4)], target=0)
        assert is_right(one(path, labels_path=tmp_path / "y.npy"))

    def test_matched_by_id_whatever_the_order(self, tmp_path):
        ids = [f"image {n}" for n in range(60)]
        path = table(tmp_path / "a.csv", Z, [f"logit_{k}" for k in range(4)], image_id=ids)
        labels = pd.DataFrame({"image_id": ids, "label": Y}).sample(frac=1, random_state=0)
        more = pd.concat([labels, pd.DataFrame({"image_id": ["another"], "label": [3]})])
        more.to_csv(tmp_path / "y.csv", index=False)
        splits, notes = read(path, labels_path=tmp_path / "y.csv")
        assert is_right(splits["all"])
        assert notes == ["a.csv: labels are matched by 'image_id'"]
        labels[1:].to_csv(tmp_path / "y.csv", index=False)
        with pytest.raises(InputError, match=r"y\.csv has no label for image_id image \d+ \(row \d+\)"):
            one(path, labels_path=tmp_path / "y.csv")
        pd.concat([labels, labels[:1]]).to_csv(tmp_path / "y.csv", index=False)
        with pytest.raises(InputError, match="has two labels"):
            one(path, labels_path=tmp_path / "y.csv")
        labels.rename(columns={"image_id": "case"}).to_csv(tmp_path / "y.csv", index=False)
        table(tmp_path / "b.csv", Z, [f"logit_{k}" for k in range(4)], case=ids)
        assert is_right(one(tmp_path / "b.csv", labels_path=tmp_path / "y.csv", id_key="case"))

    def test_lengths_that_differ(self, tmp_path):
        with pytest.raises(InputError, match=r"shape \(58,\) does not match 60 rows of predictions$"):
            one(save(tmp_path / "a.npz", logits=Z, labels=Y[:58]))
        with pytest.raises(InputError, match="may be transposed"):
            one(save(tmp_path / "a.npz", logits=Z.T, labels=Y))


class TestTwoClasses:
    @pytest.mark.parametrize("name", ["probs", "y_prob", "proba"])
    @pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
    def test_one_column_is_the_probability_of_class_1(self, tmp_path, name, shape):
        splits, notes = read(save(tmp_path / "a.npz", **{name: P[:, 0].reshape(shape), "labels": Y % 2}))
        np.testing.assert_allclose(splits["all"].scores, np.c_[1 - P[:, 0], P[:, 0]])
        assert "the probability of class 1 of two classes" in notes[0]

    def test_one_column_of_logits_and_of_a_table(self, tmp_path):
        np.testing.assert_allclose(
            one(save(tmp_path / "a.npz", logits=Z[:, 0], y=Y % 2)).scores, np.c_[0 * Z[:, 0], Z[:, 0]]
        )
        numbers = one(table(tmp_path / "a.csv", P[:, :1], ["prob_1"], label=Y % 2))
        np.testing.assert_allclose(numbers.scores[:, 1], P[:, 0])
        numbers = one(table(tmp_path / "b.csv", P[:, :1], ["y_score"], label=Y % 2, pred=1), kind="probabilities")
        np.testing.assert_allclose(numbers.scores[:, 1], P[:, 0])

    def test_what_is_no_probability_of_class_1(self, tmp_path):
        with pytest.raises(InputError, match="one column, which is read as P.class 1. of two classes, but not all"):
            one(save(tmp_path / "a.npz", probs=Z[:, 0], labels=Y % 2))
        with pytest.raises(InputError, match=r"labels: row \d+ holds [23], outside 0..1"):
            one(save(tmp_path / "a.npz", probs=P[:, 0], labels=Y))
        with pytest.raises(InputError, match="--classes=-1,1"):
            one(save(tmp_path / "a.npz", probs=P[:, 0], labels=2 * (Y % 2) - 1))
        assert one(tmp_path / "a.npz", classes=("-1", "1")).labels.tolist() == (Y % 2).tolist()


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

    @pytest.mark.parametrize("values", [np.log(P), np.where(P[3, 1] == P, np.nan, P), Z])
    def test_that_are_none(self, tmp_path, values):
        with pytest.raises(InputError, match=r"probabilities: row \d+ (holds .*below 0|holds NaN)"):
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
        with pytest.raises(InputError, match="logits: row 7 holds NaN or infinite values"):
            one(save(tmp_path / "a.npz", logits=np.where(np.arange(60)[:, None] == 7, -np.inf, Z), labels=Y))


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


class TestSplits:
    @pytest.mark.parametrize(
        "names",
        ["logits_{} labels_{}", "{}_logits {}_labels", "{}/logits {}/y", "{}Logits {}Labels", "{}-logits y_{}"],
    )
    @pytest.mark.parametrize("calibration", ["val", "cal", "valid"])
    def test_by_name(self, tmp_path, names, calibration):
        scores, labels = names.split()
        arrays = {scores.format("test"): Z, labels.format("test"): Y}
        arrays |= {scores.format(calibration): 2 * Z, labels.format(calibration): Y}
        arrays |= {scores.format("train"): 3 * Z, labels.format("train"): Y, "class_names": NAMES, "note": "text"}
        splits, _ = read(save(tmp_path / "a.npz", **arrays))
        assert list(splits) == ["calibration", "test"]
        assert is_right(splits["test"])
        np.testing.assert_array_equal(splits["calibration"].scores, 2 * Z)

    def test_test_next_to_train_is_one_split(self, tmp_path):
        path = save(tmp_path / "a.npz", train_logits=2 * Z, train_labels=Y, test_logits=Z, test_labels=Y)
        assert is_right(one(path))
        assert is_right(one(path, logits_key="test_logits"))
        np.testing.assert_array_equal(one(path, logits_key="train_logits").scores, 2 * Z)

    def test_a_word_in_one_name_only(self, tmp_path):
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, y_test=Y)))
        assert is_right(one(save(tmp_path / "a.npz", test_logits=Z, labels=Y)))

    def test_several_models(self, tmp_path):
        arrays = {"a/scores": 2 * Z, "a/preds": Y, "b/scores": Z, "b/preds": Y, "y_true": Y}
        path = save(tmp_path / "a.npz", **arrays)
        with pytest.raises(InputError, match=r"several models; name one \(--key\): a, b$"):
            one(path, kind="logits")
        for key in ("b", "b/scores", "/b/"):
            assert is_right(one(path, kind="logits", logits_key=key))

    def test_two_files(self, tmp_path):
        for name, factor in (("cal", 2), ("test", 1)):
            np.save(tmp_path / f"{name}_z.npy", factor * Z)
            np.save(tmp_path / f"{name}_y.npy", np.roll(Y, factor - 1))
        files = tmp_path / "cal_z.npy", tmp_path / "test_z.npy"
        source = {"kind": "logits", "labels_path": tmp_path / "cal_y.npy"}
        with pytest.raises(InputError, match=r"cal_y\.npy has the labels of one split.*--test-labels FILE"):
            read_pair_numbers(*files, Source(**source), None, 0, print)
        both = Source(**source, test_labels_path=tmp_path / "test_y.npy")
        calibration, test = read_pair_numbers(*files, both, None, 0, print)
        assert is_right(test)
        np.testing.assert_array_equal(calibration.labels, np.roll(Y, 1))
        with pytest.raises(InputError, match="belongs to a second file"):
            read_pair_numbers(files[0], None, both, 0.5, 0, print)
        save(tmp_path / "both.npz", val_labels=np.roll(Y, 1), test_labels=Y)
        of_both = Source(kind="logits", labels_path=tmp_path / "both.npz")
        assert is_right(read_pair_numbers(*files, of_both, None, 0, print)[1])

    def test_stratified(self, tmp_path):
        labels = np.repeat(np.arange(40), np.r_[np.full(30, 20), np.full(10, 2)])
        order = stratified_order(labels, 0)
        assert sorted(order) == list(range(len(labels)))
        for share in (0.5, 0.25):
            counts = np.bincount(labels[order[: round(share * len(labels))]], minlength=40)
            assert (np.abs(counts - share * np.bincount(labels)) <= 1).all()
        assert np.bincount(labels[order[: len(labels) // 2]], minlength=40).min() >= 1
        assert not np.array_equal(order, stratified_order(labels, 1))

    def test_every_row_is_equally_likely_in_either_part(self):
        labels = np.repeat(np.arange(4), [1, 3, 7, 29])
        hits = np.zeros(40)
        for seed in range(2000):
            hits[stratified_order(labels, seed)[:12]] += 1
        share = hits / 2000
        assert np.abs(share - 0.3).max() < 0.05  # 2000 draws: standard error 0.01


@pytest.mark.parametrize("column", [0, 1, 3])
@pytest.mark.parametrize("row", [3, 59])
def test_a_word_in_a_column_of_scores_takes_no_class_away(tmp_path, column, row):
    names = [f"logit_{k}" for k in range(4)]
    frame = pd.DataFrame(Z, columns=names).astype(object).assign(label=1 + Y % 2)
    frame.iloc[row, column] = "abc"
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=f"a.csv: logit_{column}: row {row} is 'abc', not a number"):
        one(tmp_path / "a.csv")


def test_scores_with_percent_signs_and_thousands_are_refused_with_advice(tmp_path):
    pd.DataFrame({f"prob_{k}": [f"{100 * p:.3f}%" for p in P[:, k]] for k in range(4)}).assign(label=Y).to_csv(
        tmp_path / "a.csv", index=False
    )
    with pytest.raises(InputError, match="prob_0: row 0 is '.*%', not a number; write plain numbers, without %"):
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
