"""Files that look like predictions and are not, or not in one way only: refused with the reason and what to do."""

import json

import numpy as np
import pandas as pd
import pytest
from forms import BINARY, LOGITS, NAMES, PROBS, P, Y, Z, dump, read, write

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (PROBS.assign(label=np.where(np.arange(60) % 9, Y, -1)), "if -1 marks rows without a label, leave these rows"),
        (PROBS.assign(label=np.where(np.arange(60) % 9, Y, 255)), "if 255 marks rows without a label, leave these"),
        (PROBS.assign(label=np.where(np.arange(60) == 3, np.nan, Y)), "labels: row 3 is nan"),
        (LOGITS.assign(logit_1=np.where(np.arange(60) == 7, np.nan, Z[:, 1])), "logits: row 7 contains NaN"),
        (
            pd.DataFrame({"label": Y, "pred": 1, "prob": P.max(1) / 2}),
            "prob has one column, which is read as the score",
        ),
        (pd.DataFrame({"label": Y % 2, "pred": 1, "prob": np.maximum(BINARY, 1 - BINARY)}), "of the predicted class?"),
        (pd.concat([PROBS.astype(str), PROBS.columns.to_frame().T, PROBS]), "a second header line?"),
        (LOGITS.map(lambda value: f"{value * 1000:,}"), "without % or thousands separators"),
        (pd.DataFrame({"label": Y, "conf": P.max(1), "pred": P.argmax(1)}), "no logits or probabilities are recog"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path, frame, message):
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        read(tmp_path / "a.csv")


def test_the_probability_of_class_1_may_be_large_everywhere_where_the_user_says_so(tmp_path):
    np.savez(tmp_path / "a.npz", prob=0.5 + BINARY / 2, label=Y % 2)
    [numbers] = read(tmp_path / "a.npz", kind="probabilities")[0].values()
    np.testing.assert_allclose(numbers.scores[:, 1], 0.5 + BINARY / 2)


def test_labels_that_seem_to_count_from_1_get_a_note(tmp_path):
    z = np.zeros((60, 5))
    z[:, :4] = 20 * np.eye(4)[Y]
    np.savez(tmp_path / "a.npz", logits=z, labels=Y + 1)
    assert "if labels count from 1, add --labels-from 1" in read(tmp_path / "a.npz")[1][0]
    np.savez(tmp_path / "a.npz", logits=z[:, ::-1], labels=4 - Y)
    assert read(tmp_path / "a.npz")[1] == []


@pytest.mark.parametrize(("name", "what"), [("a.xlsx", "a spreadsheet"), ("a.rds", "R's objects"), ("a.7z", "archive")])
def test_kinds_that_are_not_read_have_advice(tmp_path, name, what):
    (tmp_path / name).write_bytes(b"\x01\x02\x03")
    with pytest.raises(InputError, match=f"{what}.*save it as CSV or Parquet"):
        read(tmp_path / name)


def test_a_default_dict_calls_nothing(tmp_path):
    dump(tmp_path / "a.pkl", {"logits": Z, "labels": Y, "make": list})
    with pytest.raises(InputError):
        read(tmp_path / "a.pkl")


def of_models(models):
    return [{"model": name, "probs": (P if name == "b" else P[::-1]).tolist(), "labels": Y.tolist()} for name in models]


def test_a_list_of_records_of_several_models_asks_for_one(tmp_path):
    write(path := tmp_path / "models.json", json.dumps(of_models("ab")))
    with pytest.raises(InputError, match=r"contains several models; name one \(--key\): a, b"):
        read_numbers(path, Source(), print)
    [numbers] = read_numbers(path, Source(logits_key="b"), print).values()
    np.testing.assert_allclose(numbers.scores, P)
    np.testing.assert_array_equal(numbers.labels, Y)


def test_stacked_matrices_without_names_say_what_to_do(tmp_path):
    write(path := tmp_path / "stacked.json", json.dumps({"probs": [P.tolist(), P.tolist()], "labels": Y.tolist()}))
    with pytest.raises(InputError, match="write each .rows, classes. part"):
        read_numbers(path, Source(), print)


def test_a_row_of_its_own_in_every_record_is_no_model(tmp_path):
    rows = [
        {"name": f"{n}.png", "logits": [z.tolist()], "label": int(y)} for n, (z, y) in enumerate(zip(Z, Y, strict=True))
    ]
    write(path := tmp_path / "rows.json", json.dumps(rows))
    try:
        read_numbers(path, Source(), print)
    except InputError as error:
        assert "models" not in str(error)


def test_the_largest_probabilities_of_each_row_are_not_taken_for_classes(tmp_path):
    """As timm's inference.py writes them, next to index_0, index_1 ...: the label is no column number there."""
    order = np.argsort(-P, axis=1)
    frame = pd.DataFrame(np.take_along_axis(P, order, 1), columns=[f"prob_{k}" for k in range(4)])
    frame[[f"index_{k}" for k in range(4)]] = order
    frame.assign(label=Y).to_csv(path := tmp_path / "topk.csv", index=False)
    with pytest.raises(InputError, match=r"descends in every row.*name the classes of the columns with --classes"):
        read_numbers(path, Source(), print)


def test_columns_that_descend_are_read_where_the_user_names_their_classes(tmp_path):
    np.savez(path := tmp_path / "sorted.npz", probs=-np.sort(-P, axis=1), labels=np.array(list("abcd"))[Y])
    with pytest.raises(InputError, match="descends in every row"):
        read_numbers(path, Source(), print)
    [numbers] = read_numbers(path, Source(classes=("a", "b", "c", "d")), print).values()
    np.testing.assert_allclose(numbers.scores, -np.sort(-P, axis=1))


def test_a_missing_row_among_probabilities_by_class_is_named(tmp_path):
    frame = pd.DataFrame(P, columns=NAMES).assign(truth=NAMES[Y])
    frame.loc[7, list(NAMES)] = np.nan
    frame.to_csv(path := tmp_path / "r.csv", index=False)
    with pytest.raises(InputError, match="row 7 "):
        read_numbers(path, Source(), print)


def test_a_table_of_wandb_is_read(tmp_path):
    rows = [
        [{"_type": "image-file", "path": "a.png"}, NAMES[label], *row] for row, label in zip(P.tolist(), Y, strict=True)
    ]
    columns = ["image", "truth", *(f"score_{name}" for name in NAMES)]
    table = {"_type": "table", "columns": columns, "data": rows, "ncols": len(columns), "nrows": len(rows)}
    write(path := tmp_path / "media.table.json", json.dumps(table))
    key = ",".join(columns[2:])
    [numbers] = read_numbers(path, Source(logits_key=key, kind="probabilities", classes=tuple(NAMES)), print).values()
    np.testing.assert_allclose(numbers.scores, P)
    np.testing.assert_array_equal(numbers.labels, Y)
