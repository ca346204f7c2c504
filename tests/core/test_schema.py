"""The columns of the tidy tables."""

import numpy as np
import pandas as pd
import pytest

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.schema import (
    COMPARISON_SCHEMA,
    KEY_COLUMNS,
    RESULT_COLUMNS,
    RESULT_SCHEMA,
    as_flag,
    conform,
)


def test_tables_of_earlier_versions_get_the_optional_columns():
    required = [column.name for column in COMPARISON_SCHEMA if column.required]
    old = pd.DataFrame([dict.fromkeys(required, 1.0)]).assign(differs="True", calibrated=np.nan)
    new = conform(old, COMPARISON_SCHEMA)
    assert list(new) == [column.name for column in COMPARISON_SCHEMA]
    row = new.iloc[0]
    assert row["differs"] is True
    assert row["calibrated"] is None
    assert np.isnan(row["p_adjusted"])
    assert row["change_reason"] == ""


def test_a_missing_required_column_is_named():
    with pytest.raises(InputError, match="run.csv: the column 'value' is missing"):
        conform(pd.DataFrame(columns=[c for c in RESULT_COLUMNS if c != "value"]), RESULT_SCHEMA, "run.csv")


def test_keys_are_columns_and_every_column_has_a_meaning():
    assert set(KEY_COLUMNS) <= set(RESULT_COLUMNS)
    assert all(column.meaning.endswith(".") for column in (*RESULT_SCHEMA, *COMPARISON_SCHEMA))


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (("True", "1", "1.0", " true ", 1, 1.0), True),
        (("False", "0", "0.0", 0), False),
        (("", " ", "nan", "None", np.nan, None, pd.NA), None),
    ],
)
def test_every_word_that_readers_accept_as_a_flag_has_its_meaning(words, meaning):
    assert [as_flag(word) for word in words] == [meaning] * len(words)
