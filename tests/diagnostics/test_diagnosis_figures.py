"""The rows of a figure of relations can be distinguished, and no text leaves it."""

import pandas as pd
import pytest

from calbench.benchmark.diagnostics.figures import figures


def relations(datasets, recipes):
    rows = [
        {"dataset": dataset, "backbone": "vit", "recipe": recipe, "seed": 0, "measure": measure, "block": block,
         "target": "misclassification", "statistic": "auroc", "value": 0.4 + 0.02 * n, "low": 0.3, "high": 0.7}
        for dataset in datasets for recipe in recipes
        for n, (measure, block) in enumerate([("entropy", "0"), ("entropy", "1"), ("rollout-on-noise", "")])
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    empty = pd.DataFrame(columns=["measure", "block"])
    return {"relations": frame, "attention": empty, "temperature-curve": empty, "entropy-course": empty}


@pytest.mark.parametrize(
    ("datasets", "recipes"),
    [(["digits"], ["cross-entropy"]), (["digits"], ["cross-entropy", "focal + tempnet"]), (["a", "b"], ["x", "y"])],
)
def test_every_row_of_the_relations_has_its_own_label(datasets, recipes):
    ((name, _, figure),) = figures(relations(datasets, recipes), {})
    assert name == "relations"
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(set(labels)) == len(labels) == 3 * len(datasets) * len(recipes)
    assert any(label.startswith("entropy (block 2)") for label in labels)
    assert all((recipes[0] in label) == (len(recipes) > 1) for label in labels if recipes[-1] not in label)
    figure.draw_without_rendering()
    width = figure.bbox.width
    assert all(text.get_window_extent().x0 >= 0 and text.get_window_extent().x1 <= width for text in
               [*axes.get_yticklabels(), axes.xaxis.label])  # fmt: skip
