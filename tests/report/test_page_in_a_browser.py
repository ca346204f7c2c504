"""The page in a real browser: sorting, filters, rows, pictures, downloads."""

from pathlib import Path

import pandas as pd
import pytest
from pages import EVIL, shown, with_evil_names


@pytest.mark.browser
@pytest.mark.slow
def test_sorting_by_keyboard_and_by_click(opened, builder):
    tab = opened(builder(missing=[("digits", "swin-micro", "focal")]))
    button = tab.locator("#cells th button", has_text="ECE (%)")
    column = button.get_attribute("data-column")
    button.focus()
    tab.keyboard.press("Enter")
    up = [float(value) for value in shown(tab, column) if value]
    assert up == sorted(up)
    assert shown(tab, column)[-1] == "", "what is missing stays last"
    button.click()
    down = [float(value) for value in shown(tab, column) if value]
    assert down == sorted(up, reverse=True)
    assert shown(tab, column)[-1] == ""
    assert tab.locator("#cells th[aria-sort=descending]").count() == 1


@pytest.mark.slow
@pytest.mark.browser
def test_filters_and_search(opened, builder):
    tab = opened(builder(checkpoints=("last", "best-ece")))
    everything = len(shown(tab))
    assert everything == 4 * 5 + 2, "the protocol's own checkpoint rule alone"
    tab.select_option("[data-filter=dataset]", "digits")
    tab.select_option("[data-filter=backbone]", "vit-micro")
    assert len(shown(tab)) == 5
    tab.select_option("[data-filter=family]", "calibrator")
    assert shown(tab) == ["cross-entropy + temperature-scaling", "mixup + vector-scaling"]
    tab.keyboard.press("Tab")
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("/")
    tab.keyboard.type("VECTOR mixup")
    assert shown(tab) == ["mixup + vector-scaling"]
    assert tab.locator("#count").inner_text() == "1 of 42 rows"
    tab.click("#reset")
    assert len(shown(tab)) == everything
    tab.select_option("[data-filter=checkpoint]", "best-ece")
    assert len(shown(tab)) == 4 * 5


@pytest.mark.browser
@pytest.mark.slow
def test_a_row_opens_with_diagram_formula_and_manifest(opened, results):
    tab = opened(results)
    tab.fill("#search", "calattn digits vit-micro")
    button = tab.locator("#cells tr[data-id]:not([hidden]) button.open")
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    detail = tab.locator("tr.detail")
    assert detail.locator("svg.reliability rect.bar").count() == 11
    for text in ("The formula of calattn", "criterion", "12345 (+0.115 %)", "done"):
        assert text in detail.inner_text()
    first = detail.locator("svg").inner_html()
    detail.locator("select").select_option("1")
    assert detail.locator("svg").inner_html() != first, "the other seed has another diagram"
    tab.keyboard.press("Escape")
    button.click()
    assert tab.locator("tr.detail").count() == 0


@pytest.mark.browser
@pytest.mark.slow
def test_intervals_and_the_noise_floor_are_drawn(opened, results):
    tab = opened(results)
    strip = tab.locator("#cells tr[data-id] svg.strip").first
    assert strip.locator("rect.floor").count() == strip.locator("line.whisker").count() == 1
    assert "interval" in strip.get_attribute("aria-label")


@pytest.mark.browser
@pytest.mark.slow
def test_light_and_dark(opened, results):
    tab = opened(results)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(colour)
    tab.emulate_media(color_scheme="dark")
    assert tab.evaluate(colour) != light
    tab.click("#theme")
    assert tab.evaluate(colour) == light


@pytest.mark.browser
@pytest.mark.slow
def test_a_phone_sees_everything_without_scrolling_sideways(opened, results):
    tab = opened(results, width=375)
    tall = tab.evaluate("document.documentElement.scrollHeight")
    tab.locator("#cells tr[data-id] button.open").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 375
    assert tab.locator("#cells tr[data-id]:visible").count() == 15, "the first cards"
    tab.click("#more")
    assert tab.locator("#cells tr[data-id]:visible").count() == len(shown(tab))
    assert tall < 8000
    tab.select_option("#sort", label="dataset")
    assert shown(tab, "1") == sorted(shown(tab, "1"))


@pytest.mark.slow
@pytest.mark.browser
def test_hostile_names_do_no_harm(opened, builder):
    tab = opened(with_evil_names(builder))
    for button in tab.locator("#cells tr[data-id]:not([hidden]) button.open").all()[:4]:
        button.click()
    assert tab.title() == EVIL
    assert tab.locator("img").count() == 0
    assert EVIL in tab.locator("#cells").inner_text()


@pytest.mark.browser
@pytest.mark.slow
def test_a_hundred_entries(opened, builder):
    entries = ["cross-entropy", *(f"method-{i}" for i in range(99))]
    tab = opened(builder(entries=entries, datasets=("digits",), seeds=(0,), oracle=False))
    assert len(shown(tab)) == 200
    tab.fill("#search", "method-42")
    assert shown(tab) == ["method-42", "method-42"]


@pytest.mark.browser
@pytest.mark.slow
def test_a_view_has_an_address(opened, results):
    tab = opened(results)
    tab.select_option("[data-filter=dataset]", "digits")
    tab.fill("#search", "calattn")
    tab.locator("#cells th button", has_text="ECE (%)").first.click()
    before, address = shown(tab), tab.url
    assert "dataset=digits" in address
    assert "q=calattn" in address
    tab.goto("about:blank")
    tab.goto(address)
    assert shown(tab) == before
    assert tab.locator("#cells th[aria-sort=ascending]").count() == 1
    tab.click("#reset")
    assert "dataset" not in tab.url


@pytest.mark.browser
@pytest.mark.slow
def test_the_first_picture_shows_every_entry_and_follows_the_filter(opened, results):
    tab = opened(results)
    assert tab.locator("#scatter circle").count() == 5, "a point per entry: means over all cells"
    dot = tab.locator("#scatter circle").first
    dot.focus()
    assert tab.locator("#scatter text.named").text_content() == "cross-entropy"
    tab.select_option("[data-filter=dataset]", "digits")
    assert tab.locator("#scatter circle").count() == 10
    box = tab.locator("#overall").bounding_box()
    assert box["y"] < 400, "the overall table is in the first screen"


@pytest.mark.browser
@pytest.mark.slow
def test_two_entries_are_compared(opened, results):
    tab = opened(results)
    tab.select_option("#first", "cross-entropy")
    tab.select_option("#second", "focal")
    tab.click("#compare")
    place = tab.locator("#comparison")
    assert place.locator("h3").count() == 4
    assert place.locator("svg.reliability").count() == 8
    row = place.locator("tbody tr").first.locator("td").all_inner_texts()
    first, second, change = (float(text.replace("\u2212", "-")) for text in row[1:])
    assert change == pytest.approx(second - first, abs=0.011)
    assert "first=cross-entropy" in tab.url


@pytest.mark.browser
@pytest.mark.slow
def test_tables_are_downloaded(opened, builder):
    tab = opened(builder(entries=("cross-entropy", "=1+1", "a,b"), oracle=False))
    with tab.expect_download() as caught:
        tab.click("[data-download='rows.csv']")
    frame = pd.read_csv(caught.value.path())
    assert set(frame.iloc[:, 0]) == {"cross-entropy", "'=1+1", "a,b"}, "no cell is a formula"
    assert len(frame) == 12
    with tab.expect_download() as caught:
        tab.click("[data-download='overall.tex']")
    assert r"\begin{tabular}" in Path(caught.value.path()).read_text()


@pytest.mark.browser
@pytest.mark.slow
def test_all_columns_are_one_click_away_and_explained(opened, results):
    tab = opened(results)
    head = tab.locator("#cells th button", has_text="Noise floor")
    assert not head.is_visible()
    tab.check("#wide")
    assert head.is_visible()
    assert "perfectly calibrated" in head.get_attribute("title")
