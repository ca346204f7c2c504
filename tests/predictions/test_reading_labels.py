"""Labels: of every form, in a file of their own, matched by id, one-column scores of two classes."""

import numpy as np
import pandas as pd
import pytest
from prediction_files import NAMES, P, Y, Z, is_right, one, read, save, table

from calbench.benchmark.core.errors import InputError


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

    def test_names_as_bytes(self, tmp_path):
        names = np.array(["café", "dog", "emu", "fox"])
        encoded = np.char.encode(names, "utf-8")
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, labels=encoded[Y], class_names=encoded)))
        assert is_right(one(save(tmp_path / "b.npz", logits=Z, labels=encoded[Y]), classes=tuple(names)))

    def test_names_in_the_file_or_in_an_option(self, tmp_path):
        assert is_right(one(save(tmp_path / "a.npz", logits=Z, labels=NAMES[Y], class_names=NAMES)))
        save(tmp_path / "b.npz", logits=Z, labels=NAMES[Y])
        assert is_right(one(tmp_path / "b.npz", classes=tuple(NAMES)))
        with pytest.raises(InputError, match=r"got names \(.*in the order of the columns \(--classes A,B,C\)$"):
            one(tmp_path / "b.npz")
        with pytest.raises(InputError, match="--classes has 3 names, and the number of classes is 4"):
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
        with pytest.raises(InputError, match="is 4, outside 0..3; classes are counted from 0.*--labels-from 1"):
            one(tmp_path / "a.npz")
        assert is_right(one(tmp_path / "a.npz", labels_from=1))
        with pytest.raises(InputError, match="row 0 is 0, outside 1..4"):
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
        with pytest.raises(InputError, match=r"labels: row \d+ is [23], outside 0..1"):
            one(save(tmp_path / "a.npz", probs=P[:, 0], labels=Y))
        with pytest.raises(InputError, match="--classes=-1,1"):
            one(save(tmp_path / "a.npz", probs=P[:, 0], labels=2 * (Y % 2) - 1))
        assert one(tmp_path / "a.npz", classes=("-1", "1")).labels.tolist() == (Y % 2).tolist()
