"""Every form in which other tools save predictions is read as the same numbers."""

import collections
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from forms import BATCHES, BINARY, LOGITS, NAMED, NAMES, PROBS, L, P, T, Y, Z, dump, read, write
from pyarrow import feather, parquet
from scipy.io import savemat

from calbench.benchmark.cli.main import main


def columns(path, frame, **options):
    parquet.write_table(pa.table(frame), path, **options)


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["logits"], file["labels"], file["about"] = Z, Y, "a scalar text"
        file["files"] = [f"{n}.png" for n in range(60)]


def nullable(path):
    frame = LOGITS.assign(label=LOGITS["label"].astype("Int64"), logit_0=LOGITS["logit_0"].astype("Float64"), note="x")
    frame.to_parquet(path)


def of_r(path):
    lines = [" ".join(f'"{name}"' for name in [*NAMES, "truth"])]
    for number, (row, label) in enumerate(zip(P, Y, strict=True)):
        lines.append(" ".join([f'"{number + 1}"', *map(repr, map(float, row)), f'"{NAMES[label]}"']))
    write(path, "\n".join(lines))


def levels(path):
    names = [("prob", str(k)) for k in range(4)]
    pd.DataFrame(np.c_[P, Y], columns=pd.MultiIndex.from_tuples([*names, ("label", "")])).to_csv(path)


def by_id(path):
    rows = zip(P.tolist(), Y.tolist(), strict=True)
    write(path, json.dumps({f"{n}.png": {"probs": row, "label": label} for n, (row, label) in enumerate(rows)}))


def pipeline(path):
    rows = [
        {"label": NAMES[y], "scores": [{"label": NAMES[k], "score": float(p[k])} for k in np.argsort(-p)]}
        for p, y in zip(P, Y, strict=True)
    ]
    write(path, "\n".join(map(json.dumps, rows)))


def records(path, **more):
    rows = [{"probs": p.tolist(), "label": int(y), **more} for p, y in zip(P, Y, strict=True)]
    write(path, json.dumps(rows))


FORMS = {
    "plain.csv": lambda f: PROBS.to_csv(f, index=False),
    "tabs.tsv": lambda f: PROBS.to_csv(f, index=False, sep="\t"),
    "small.csv.gz": lambda f: PROBS.to_csv(f, index=False),
    "index.csv": lambda f: PROBS.to_csv(f),
    "decimal_comma.csv": lambda f: PROBS.to_csv(f, index=False, sep=";", decimal=","),
    "utf16.csv": lambda f: write(f, PROBS.to_csv(index=False), "utf-16"),
    "mark.csv": lambda f: write(f, PROBS.to_csv(index=False), "utf-8-sig"),
    "windows.csv": lambda f: write(f, PROBS.to_csv(index=False).replace("\n", "\r\n")),
    "old_mac.csv": lambda f: write(f, PROBS.to_csv(index=False).replace("\n", "\r")),
    "quoted.csv": lambda f: PROBS.to_csv(f, index=False, quoting=1),
    "blanks.csv": lambda f: write(f, PROBS.to_csv(index=False).replace(",", " , ")),
    "trailing.csv": lambda f: write(f, PROBS.to_csv(index=False).replace("\n", ",\n")),
    "comments.csv": lambda f: write(f, "# resnet50\n# 2026\n" + PROBS.to_csv(index=False)),
    "text_beside.csv": lambda f: PROBS.assign(file="x.png", note="").to_csv(f, index=False),
    "shuffled.csv": lambda f: PROBS[["prob_2", "prob_0", "label", "prob_3", "prob_1"]].to_csv(f, index=False),
    "labels_as_decimals.csv": lambda f: PROBS.assign(label=[f"{y}.0" for y in Y]).to_csv(f, index=False, quoting=2),
    "one_hot.csv": lambda f: (
        PROBS.drop(columns="label").assign(**{f"label_{k}": (k == Y) * 1 for k in range(4)}).to_csv(f)
    ),
    "from_one.csv": lambda f: (
        PROBS.rename(columns={f"prob_{k}": f"prob_{k + 1}" for k in range(4)}).assign(label=Y + 1).to_csv(f)
    ),
    "class_names.csv": lambda f: NAMED.to_csv(f, index=False),
    "class_names_in_brackets.tsv": lambda f: (
        NAMED.rename(columns={name: f"p({name})" for name in NAMES}).to_csv(f, sep="\t", index=False)
    ),
    "r_write_table.txt": of_r,
    "numpy_savetxt.txt": lambda f: np.savetxt(f, np.c_[P, Y], header=" ".join(PROBS.columns)),
    "levels.csv": levels,
    "levels_no_index.csv": lambda f: (
        levels(f), write(f, "\n".join(line.partition(",")[2] for line in Path(f).read_text().splitlines())),
    ),
    "list_cells.csv": lambda f: pd.DataFrame({"probs": [str(p.tolist()) for p in P], "label": Y}).to_csv(f),
    "numpy_cells.csv": lambda f: pd.DataFrame({"logits": [str(z) for z in Z], "label": Y}).to_csv(f),
    "records.json": records,
    "records_with_text.json": lambda f: records(f, text="t", id="x"),
    "lists.json": lambda f: write(f, json.dumps({"logits": Z.tolist(), "targets": Y.tolist()})),
    "by_id.json": by_id,
    "pipeline.jsonl": pipeline,
    "scores_by_name.json": lambda f: write(
        f, json.dumps([{"scores": dict(zip(NAMES, p.tolist(), strict=True)), "label": NAMES[y]}
                       for p, y in zip(P, Y, strict=True)])),
    "rows.jsonl": lambda f: write(f, PROBS.to_json(orient="records", lines=True, double_precision=15)),
    "lists.parquet": lambda f: columns(f, {"logits": Z.tolist(), "label": Y, "text": ["x"] * 60}),
    "nullable.parquet": nullable,
    "a.feather": lambda f: feather.write_feather(LOGITS, f),
    "extra.npz": lambda f: np.savez(f, logits=Z, labels=Y, names=NAMES, epoch=3, train=np.zeros((9, 2)), note="x"),
    "float16.npz": lambda f: np.savez(f, softmax=P.astype(np.float16), labels=Y),
    "collected.npz": lambda f: np.savez(f, logits_list=Z, labels_list=Y),
    "all.npz": lambda f: np.savez(f, all_logits=Z, all_targets=Y),
    "structured.npy": lambda f: np.save(
        f, np.array(list(zip(Z, Y, strict=True)), dtype=[("logits", "f8", (4,)), ("label", "i8")])),
    "dict.npy": lambda f: np.save(f, {"logits": Z, "labels": Y}, allow_pickle=True),
    "default_dict.pkl": lambda f: dump(f, collections.defaultdict(list, logits=list(Z), targets=Y.tolist())),
    "pickle_as.npy": lambda f: dump(f, {"logits": Z, "labels": Y}),
    "pickle_as.dat": lambda f: dump(f, {"logits": Z, "labels": Y}),
    "dict.pt": lambda f: torch.save({"logits": T, "labels": L}, f),
    "tuple.pth": lambda f: torch.save((T, L), f),
    "batches.pt": lambda f: torch.save({"logits": list(T.split(25)), "labels": list(L.split(25))}, f),
    "dicts_of_batches.pt": lambda f: torch.save([{"logits": z, "labels": y} for z, y in BATCHES], f),
    "pairs_of_batches.pt": lambda f: torch.save(BATCHES, f),
    "ordered.pt": lambda f: torch.save(collections.OrderedDict(logits=T, labels=L), f),
    "a.mat": lambda f: savemat(f, {"logits": Z, "labels": Y[:, None], "about": "text"}),
    "text_beside.h5": hdf5,
}  # fmt: skip


def is_right(numbers, tolerance=1e-6):
    values = numbers.scores.astype(float)
    if numbers.kind == "logits":
        values = np.exp(values - values.max(1, keepdims=True))
        values /= values.sum(1, keepdims=True)
    np.testing.assert_allclose(values, P, atol=tolerance)
    np.testing.assert_array_equal(numbers.labels, Y)


@pytest.mark.parametrize("name", FORMS)
def test_read_without_an_option(tmp_path, name, capsys):
    FORMS[name](tmp_path / name)
    [numbers] = read(tmp_path / name)[0].values()
    if name == "pipeline.jsonl":  # classes by their names, as it has no other order
        order = np.argsort(NAMES)
        np.testing.assert_allclose(numbers.scores, P[:, order], atol=1e-9)
        np.testing.assert_array_equal(order[numbers.labels], Y)
    else:
        is_right(numbers, 1e-3 if name == "float16.npz" else 1e-6)
    assert main(["inspect", str(tmp_path / name)]) == 0
    assert f"accuracy {100 * (Z.argmax(1) == Y).mean():.2f} %" in " ".join(capsys.readouterr().out.split())


def labels_by_id(folder):
    pd.DataFrame({"id": range(60), "label": Y}).sample(frac=1, random_state=0).to_csv(folder / "y.csv", index=False)
    PROBS.drop(columns="label").assign(id=range(60)).to_csv(folder / "a.csv", index=False)
    return {"labels_path": folder / "y.csv"}


def submission(folder):
    truth = pd.DataFrame({"id": range(60), "label": NAMES[Y]})
    truth.sample(frac=1, random_state=0).to_csv(folder / "y.csv", index=False)
    NAMED.drop(columns="truth").assign(id=range(60)).to_csv(folder / "a.csv", index=False)
    return {"labels_path": folder / "y.csv"}


def without_header(folder):
    np.savetxt(folder / "a.csv", np.c_[Y, Z], delimiter=",", fmt=["%d", *["%.6f"] * 4])
    return {"labels_key": "0", "kind": "logits"}


def keys(folder):
    NAMED.assign(truth=Y).to_csv(folder / "a.csv", index=False)
    return {"logits_key": ",".join(NAMES), "kind": "probabilities"}


def per_cent(folder):
    np.savez(folder / "a.npz", probs=100 * P, labels=Y)
    return {"normalize": True}


def rounded(folder):
    np.savez(folder / "a.npz", probs=np.round(P, 8) * 1.001, labels=Y)
    return {"normalize": True}


def nested(folder):
    dump(folder / "a.pkl", {"a": {"deep": {"scores": Z[:, ::-1]}}, "b": {"deep": {"scores": Z}}, "labels": Y})
    return {"logits_key": "b/deep/scores", "kind": "logits"}


def samples(folder):
    dump(folder / "a.pkl", [(row.astype(np.float64), int(label)) for row, label in zip(Z, Y, strict=True)])
    return {"kind": "logits"}


def numbered_classes(folder):
    PROBS.assign(label=np.array([10, 20, 30, 40])[Y]).to_csv(folder / "a.csv", index=False)
    return {"classes": ("10", "20", "30", "40")}


@pytest.mark.parametrize(
    "make",
    [labels_by_id, submission, without_header, keys, per_cent, rounded, nested, samples, numbered_classes],
)
def test_read_with_an_option(tmp_path, make):
    options = make(tmp_path)
    [path] = [path for path in tmp_path.iterdir() if path.stem == "a"]
    [numbers] = read(path, **options)[0].values()
    is_right(numbers)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("labels", [Y % 2, (Y % 2).astype(bool), (Y % 2).astype(np.uint8)])
def test_one_column_of_two_classes(tmp_path, shape, labels):
    np.savez(tmp_path / "a.npz", probs=BINARY.reshape(shape), labels=labels)
    (numbers,), notes = (list(part) if isinstance(part, list) else part.values() for part in read(tmp_path / "a.npz"))
    np.testing.assert_allclose(numbers.scores, np.stack([1 - BINARY, BINARY], 1))
    np.testing.assert_array_equal(numbers.labels, Y % 2)
    assert "the probability of class 1" in notes[0]


@pytest.mark.parametrize("prefix", ["{split}_{what}", "{what}_{split}", "{split}/{what}", "all_{what}_{split}"])
def test_both_splits_in_one_file(tmp_path, prefix):
    arrays = {}
    for split, rows in (("val", slice(0, 20)), ("test", slice(20, 60))):
        arrays[prefix.format(split=split, what="logits")] = Z[rows]
        arrays[prefix.format(split=split, what="labels")] = Y[rows]
    np.savez(tmp_path / "a.npz", **arrays)
    numbers, _ = read(tmp_path / "a.npz")
    assert {split: len(part.labels) for split, part in numbers.items()} == {"calibration": 20, "test": 40}
