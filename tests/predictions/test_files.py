import os
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.files import Source, read_pair, read_predictions, read_splits

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(40, 3)).astype(np.float32)
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
Y = RNG.integers(0, 3, 40)


def check(part, probabilities=False):
    expected = np.log(P) if probabilities else Z
    np.testing.assert_allclose(part.logits.numpy(), expected, atol=1e-6)
    assert part.logits.dtype == torch.float32
    assert part.labels.tolist() == Y.tolist()


@pytest.mark.parametrize(("name", "label"), [("logits", "labels"), ("Logits", "y"), ("logits", "ground_truth")])
def test_npz_names_are_recognised(tmp_path, name, label):
    np.savez(tmp_path / "a.npz", **{name: Z, label: Y[:, None]})
    check(read_predictions(tmp_path / "a.npz"))


def test_every_format_gives_the_same(tmp_path):
    np.savez(tmp_path / "a.npz", probas=P, labels=Y)
    frame = pd.DataFrame(P, columns=[f"prob_{k}" for k in range(3)]).assign(label=Y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    save_file({"probs": torch.from_numpy(P), "targets": torch.from_numpy(Y)}, tmp_path / "a.safetensors")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"probabilities": P, "labels": Y}, protocol=4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["probas"], file["labels"] = P, Y
    for suffix in ("npz", "csv", "parquet", "safetensors", "pkl", "h5"):
        check(read_predictions(tmp_path / f"a.{suffix}"), probabilities=True)


@pytest.mark.parametrize("first", [0, 1])
def test_columns_of_a_table_are_classes_by_their_numbers(tmp_path, first):
    wide = np.random.default_rng(0).normal(size=(len(Y), 12)).astype(np.float32)
    frame = pd.DataFrame({f"logit_{k + first}": wide[:, k] for k in range(12)} | {"label": Y})
    frame[sorted(frame.columns)].to_csv(tmp_path / "sorted.csv", index=False)  # logit_0, logit_1, logit_10 ...
    np.testing.assert_allclose(read_predictions(tmp_path / "sorted.csv").logits, wide, rtol=1e-6)


@pytest.mark.parametrize("columns", [["logit_0", "logit_2", "label"], ["logit_2", "logit_3", "y"]])
def test_columns_that_cannot_be_all_classes_are_not_taken_for_them(tmp_path, columns):
    pd.DataFrame([[0.5, -0.5, 1]], columns=columns).to_csv(tmp_path / "gap.csv", index=False)
    with pytest.raises(InputError, match="no logits or probabilities are recognised.*is missing.*--key A,B,C"):
        read_predictions(tmp_path / "gap.csv")


def test_npy_takes_its_labels_from_another_file(tmp_path):
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "y.npy", Y)
    check(read_splits(tmp_path / "z.npy", Source("logits", labels_path=tmp_path / "y.npy"))["all"])


def test_calarena_files(tmp_path):
    with h5py.File(tmp_path / "arena.h5", "w") as file:
        for model in ("cifar/a", "cifar/b"):
            for split in ("cal", "test"):
                file[f"{model}/probas_{split}"], file[f"{model}/labels_{split}"] = P, Y
    with pytest.raises(InputError, match=r"several models; name one \(--key\): cifar/a, cifar/b"):
        read_pair(tmp_path / "arena.h5")
    pair = read_pair(tmp_path / "arena.h5", source=Source(logits_key="cifar/b"))
    check(pair["last", "calibration"], probabilities=True)
    check(pair["last", "test"], probabilities=True)


@pytest.mark.parametrize("protocol", range(6))
def test_kaengsepp_pickles(tmp_path, protocol):
    (tmp_path / "k.p").write_bytes(pickle.dumps(((Z, Y[:, None]), (2 * Z, Y[:, None])), protocol=protocol))
    pair = read_pair(tmp_path / "k.p")
    check(pair["last", "calibration"])
    np.testing.assert_allclose(pair["last", "test"].logits.numpy(), 2 * Z)


class Hostile:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch {}"),
        (eval, "open({!r}, 'w')"),
        (exec, "open({!r}, 'w')"),
        (getattr, "numpy", "load"),
        (np.load, "{}"),
        (np.fromfile, "{}"),
    ],
)
def test_hostile_pickles_run_nothing(tmp_path, call):
    trap = tmp_path / "trap"
    arguments = [text.format(str(trap)) for text in call[1:]]
    payload = ((Z, Hostile(call[0], *arguments)), (Z, Y))
    (tmp_path / "bad.p").write_bytes(pickle.dumps(payload, protocol=4))
    with pytest.raises(InputError, match=r"bad\.p: it asks for .* only NumPy arrays are allowed"):
        read_pair(tmp_path / "bad.p")
    assert not trap.exists()


def test_pickled_objects_and_codecs_are_refused(tmp_path):
    (tmp_path / "o.p").write_bytes(pickle.dumps({"logits": np.array([{}, 1], dtype=object), "labels": Y}))
    with pytest.raises(InputError, match="no logits or probabilities"):
        read_predictions(tmp_path / "o.p")
    np.savez(tmp_path / "o.npz", logits=np.array([{}, 1], dtype=object), labels=Y)
    with pytest.raises(InputError, match=r"o\.npz: no logits or probabilities"):
        read_predictions(tmp_path / "o.npz")
    (tmp_path / "c.p").write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(InputError, match="asks for a codec"):
        read_predictions(tmp_path / "c.p")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickled_list_of_numpy_numbers_is_read_as_an_array(tmp_path, protocol):
    (tmp_path / "s.p").write_bytes(pickle.dumps({"logits": Z, "labels": list(Y)}, protocol=protocol))
    assert read_predictions(tmp_path / "s.p").labels.tolist() == list(Y)


def test_split_of_one_file(tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, labels=Y, features=Z[:, :2])
    with pytest.raises(InputError, match=r"contains one split: give a second file, or the share .*--split"):
        read_pair(tmp_path / "a.npz")
    ordered = read_pair(tmp_path / "a.npz", split=0.25, seed=None)
    np.testing.assert_array_equal(ordered["last", "calibration"].logits.numpy(), Z[:10])
    np.testing.assert_array_equal(ordered["last", "test"].features.numpy(), Z[10:, :2])
    drawn, again, other = (read_pair(tmp_path / "a.npz", split=0.5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(drawn["last", "test"].logits, again["last", "test"].logits)
    assert not torch.equal(drawn["last", "test"].logits, other["last", "test"].logits)
    together = torch.cat([drawn["last", split].logits for split in ("calibration", "test")])
    assert sorted(together[:, 0].tolist()) == sorted(Z[:, 0].tolist())
    with pytest.raises(InputError, match="leaves one side of its 40 rows empty"):
        read_pair(tmp_path / "a.npz", split=0.001)


def test_two_files_must_fit(tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, labels=Y)
    np.savez(tmp_path / "b.npz", logits=Z[:, :2], labels=Y % 2)
    with pytest.raises(InputError, match=r"a\.npz has 3 classes, b\.npz 2"):
        read_pair(tmp_path / "a.npz", tmp_path / "b.npz")


def test_the_kind_is_asked_for_never_guessed(tmp_path):
    np.savez(tmp_path / "a.npz", predictions=P, ground_truth=Y)
    with pytest.raises(InputError, match=r"whether 'predictions' is logits or .* sum to one.*Add --logits or"):
        read_predictions(tmp_path / "a.npz")
    check(read_predictions(tmp_path / "a.npz", kind="probabilities"), probabilities=True)
    np.savez(tmp_path / "b.npz", logits=P, labels=Y)
    with pytest.raises(InputError, match="pass --probabilities, or confirm with --logits"):
        read_predictions(tmp_path / "b.npz")
    np.testing.assert_allclose(read_predictions(tmp_path / "b.npz", kind="logits").logits.numpy(), P)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": Z, "labels": Y[:-1]}, "does not match 40 rows"),
        ({"logits": np.where(Z[7, 1] == Z, np.nan, Z), "labels": Y}, "row 7 contains NaN"),
        ({"logits": Z, "labels": Y + 1}, "outside 0..2"),
        ({"logits": Z[None], "labels": Y}, r"shape \(1, 40, 3\), expected \(rows, classes\)"),
        ({"logits": Z, "probs": P[::-1], "labels": Y}, "both 'logits' and 'probs'"),
        ({"logits": Z, "verdict": Y}, r"no labels are recognised; the file has logits .*, verdict .*--labels-key NAME"),
        ({"numbers": Z, "labels": Y}, "whether 'numbers', the only matrix, is logits or probabilities"),
        ({"numbers": Z, "others": Z, "labels": Y}, "no logits or probabilities"),
        ({"probs": 2 * P, "labels": Y}, "row 0"),
        ({"probs": np.log(P), "labels": Y}, "row 0"),
    ],
)
def test_bad_contents_are_one_clear_message(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_predictions(tmp_path / "a.npz")
    assert str(caught.value).startswith("a.npz: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "safetensors", "parquet", "p"])
def test_truncated_and_foreign_files(tmp_path, suffix):
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["logits"], file["labels"] = Z, Y
    data = (tmp_path / "whole.h5").read_bytes()
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(data[: len(data) // 2] if suffix == "h5" else b"not what the name says")
    with pytest.raises(InputError, match=rf"^bad\.{suffix}: "):
        read_predictions(path)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        read_predictions(tmp_path / "none.npz")
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(InputError, match=r"unknown kind of file; known: .*\.csv"):
        read_predictions(tmp_path / "a.xyz")


def test_keys_can_be_given(tmp_path):
    np.savez(tmp_path / "a.npz", mine=Z, truth=Y, labels=Y[::-1])
    check(read_predictions(tmp_path / "a.npz", kind="logits", logits_key="mine", labels_key="truth"))


def test_options_of_the_python_function(tmp_path):
    np.savez(tmp_path / "a.npz", probs=100 * P)
    np.save(tmp_path / "y.npy", Y + 1)
    with pytest.warns(UserWarning, match="40 of 40 rows did not sum to one") as caught:
        part = read_predictions(tmp_path / "a.npz", labels=tmp_path / "y.npy", labels_from=1, normalize=True)
    check(part, probabilities=True)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(part.probabilities, P, atol=1e-6)
    np.savez(tmp_path / "b.npz", logits=Z, labels=np.array(["b", "c", "a"])[Y])
    check(read_predictions(tmp_path / "b.npz", classes=["b", "c", "a"]))


def test_probabilities_are_stored_without_their_logarithms(tmp_path):
    votes = RNG.multinomial(20, [0.2, 0.3, 0.5], size=40) / 20
    votes[:8] = [0, 0.05, 0.95]
    np.savez(tmp_path / "a.npz", probs=votes, labels=Y)
    pair = read_pair(tmp_path / "a.npz", split=0.5, note=lambda line: None)
    tensors = pair.to_tensors()
    assert "last/test/logits" not in tensors
    again = type(pair).from_tensors(tensors)["last", "test"]
    assert torch.equal(again.logits, pair["last", "test"].logits)
    assert again.logits.min() == pytest.approx(np.log(0.005))  # half a unit of the second decimal
    assert torch.equal(again.probabilities, pair["last", "test"].probabilities)
