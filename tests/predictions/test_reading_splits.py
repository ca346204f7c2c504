"""Files of several splits or models, two files, and splits made of one."""

import numpy as np
import pytest
from prediction_files import NAMES, Y, Z, is_right, one, read, save

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.reading import read_pair_numbers, stratified_order
from calbench.benchmark.predictions.source import Source


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
