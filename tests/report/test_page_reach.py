"""The page in a real browser: shifted splits, accessibility, the keyboard."""

from pathlib import Path

import pytest
from pages import SPLITS, shown

from calbench.benchmark.report.render.page import page
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.view import View


@pytest.mark.browser
@pytest.mark.slow
def test_shifted_and_foreign_data_are_chosen_by_kind_severity_and_measure(opened, builder):
    results = builder(shifts=SPLITS, oracle=False)
    tab = opened(results)

    def lines():
        return tab.locator("#split-table tbody tr").all_inner_texts()

    def heads():
        return tab.locator("#split-table th").all_inner_texts()

    assert len(shown(tab)) == 4 * 5, "the large table is of the test split"
    assert len(lines()) == 4 * 5 * 3, "the mean over corruptions, at three severities"
    assert heads()[3:] == ["severity", "Accuracy (%)", "NLL (nats)", "ECE (%)", "Brier"]
    assert not tab.locator("#split-measure").is_visible()
    tab.select_option("#split-data", "Shifted, by corruption: fog")
    tab.select_option("#split-severity", "5")
    tab.select_option("[data-filter=dataset]", "digits")
    tab.select_option("[data-filter=backbone]", "vit-micro")
    assert len(lines()) == 5
    stat = View(results, split="shift-fog-5").stat("digits", "vit-micro", "focal", "ece")
    cell = tab.locator("#split-table tbody tr", has_text="focal").locator("td").nth(6)
    assert float(cell.get_attribute("data-v")) == pytest.approx(stat.value)
    address = tab.url
    tab.select_option("#split-data", "Out of distribution, near: mean of the near sets")
    assert not tab.locator("#split-severity").is_visible()
    assert all("FPR" not in head for head in heads())
    tab.select_option("#split-measure", "FPR at 95 % TPR")
    assert sum("FPR" in head for head in heads()) == 2
    tab.locator("#split-table th button", has_text="energy").click()
    column = [float(value) for value in tab.locator("#split-table tbody tr td:last-child").evaluate_all(
        "cells => cells.map(cell => cell.dataset.v)")]  # fmt: skip
    assert column == sorted(column)
    tab.goto("about:blank")
    tab.goto(address)
    assert tab.locator("#split-severity").input_value() == "5"
    assert len(lines()) == 5


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_contrast_names_and_structure_meet_wcag_aa(browser, results, tmp_path, width):
    """axe-core's rules of WCAG 2 A and AA, and its best practices, in light and dark, with a row opened."""
    axe = pytest.importorskip("axe_playwright_python", reason="the extra test is not installed: no axe")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text("utf-8")
    path = tmp_path / "index.html"
    path.write_text(page(Report(results)), "utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
    tab.goto(path.as_uri())
    tab.locator("#cells tr[data-id]:not([hidden]) button.open").first.click()
    tab.evaluate(script)
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        found = tab.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'best-practice']})")
        wrong = [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found["violations"]]
        assert wrong == [], scheme
        assert "color-contrast" in {rule["id"] for rule in found["passes"]}, "contrast was measured"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


@pytest.mark.slow
@pytest.mark.browser
def test_everything_is_reached_by_the_tab_key(opened, builder):
    tab = opened(builder(entries=("cross-entropy", "focal"), datasets=("digits",), seeds=(0,), oracle=False))
    wanted = tab.evaluate(
        "[...document.querySelectorAll('button, input, select, a, summary')]"
        ".filter(e => e.checkVisibility() && !e.closest('[hidden]')).length"
    )
    tab.evaluate("window.reached = new Set()")
    for _ in range(wanted + 40):  # regions that scroll are stops, too
        tab.keyboard.press("Tab")
        tab.evaluate(
            "document.activeElement.matches('button, input, select, a, summary') && reached.add(document.activeElement)"
        )
    assert tab.evaluate("reached.size") >= wanted


@pytest.mark.browser
@pytest.mark.slow
def test_a_phone_searches_first_and_folds_what_is_long(opened, builder):
    tab = opened(builder(shifts=SPLITS, oracle=False, description="what the run is about " * 30), width=390)
    search, about = tab.locator("#search").bounding_box(), tab.locator("details.about").bounding_box()
    assert search["y"] < 300
    assert about["y"] > search["y"]
    assert tab.locator("#split-table tbody tr:visible").count() == 15
    tab.click("#more-splits")
    assert tab.locator("#split-table tbody tr:visible").count() == tab.locator("#split-table tbody tr").count() > 15
    assert tab.locator("details.extra").count() > 0
    assert tab.locator("details.extra[open]").count() == 0
    wide = opened(builder(shifts=SPLITS, oracle=False), width=800)
    assert wide.locator("details.extra[open]").count() == wide.locator("details.extra").count()
    assert wide.locator("#scatter").bounding_box()["y"] < 400, "the picture is in the first screen"


@pytest.mark.browser
@pytest.mark.slow
def test_what_all_rows_share_is_named_once(opened, builder):
    tab = opened(builder(datasets=("digits",), shifts=SPLITS, oracle=False))
    assert "dataset: digits" in tab.locator("#cells-title").inner_text()
    assert not tab.locator("#cells th", has_text="dataset").is_visible()
    assert "dataset: digits" in tab.locator("details.extra h2").first.inner_text()
    assert tab.locator("details.extra th", has_text="dataset").count() == 0
    assert tab.locator("details.extra th", has_text="backbone").count() > 0
