import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from calbench.benchmark.report.render.page import embedded_json, page
from calbench.benchmark.report.render.page_splits import place_of
from calbench.benchmark.report.render.papers import bibliography, citations
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.base_record import parse, plain
from calbench.benchmark.results.records import RunRecord

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIL = "</script><img src=x onerror=\"document.title='owned'\">"


def with_evil_names(builder):
    """Results in which every text that a user can set tries to break out of the page."""
    results = builder(
        entries=["cross-entropy", EVIL, 'a"b\'c & <d>', "100% _x_"], datasets=(f"set {EVIL}", "overlap"),
        labels={EVIL: f"label {EVIL}"}, missing=[("overlap", "vit-micro", "100% _x_")],
    )  # fmt: skip
    run = plain(results.run)
    run["title"] = run["description"] = run["command"] = EVIL
    run["protocol_text"] = run["notes"] = [EVIL]
    run["versions"] = {EVIL: EVIL}
    for cell in run["cells"]:
        cell["reason"] = cell["reason"] and EVIL
    for entry in run["entries"]:
        for method in entry["methods"]:
            method.update(label=EVIL, doc=EVIL, paper=EVIL, options={EVIL: EVIL})
    return replace(results, run=parse(RunRecord, run, "run"))


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_nothing_of_a_run_becomes_markup(builder):
    text = page(Report(with_evil_names(builder)))
    tags = Tags()
    tags.feed(text)
    assert "img" not in tags.tags
    assert tags.tags.count("script") == 2
    assert not [name for name in tags.attributes if name.startswith("on")]


def test_the_page_needs_no_network(results):
    text = page(Report(results))
    assert not re.search(r"""src\s*=|url\(|@import|fetch\(|XMLHttpRequest""", text)
    links = re.findall(r'href="([^"]*)"', text)
    assert links
    assert all(re.fullmatch(r"#[a-z-]+|[a-z]+\.[a-z]+", link) for link in links), "fragments and files next to the page"
    assert "default-src 'none'" in text


def test_the_page_tells_where_it_comes_from(results):
    text = page(Report(results))
    for part in ("Checkpoint: last epoch.", "commit 0123abc", "torch 2.15", "calbench run synthetic"):
        assert part in text


def test_embedded_json_is_safe_and_has_no_nan():
    text = embedded_json({"a": "</script><!--&", "b": float("nan"), "c": [float("inf"), 1.5, None, True]})
    assert not set("<>&") & set(text)
    assert '"b":null' in text
    assert '"c":[null,1.5,null,true]' in text


@pytest.mark.parametrize("changes", [{"compare": False}, {"oracle": False, "datasets": ("digits",)}, {"seeds": (3,)}])
def test_the_page_comes_out_of_less(builder, changes):
    assert "cross-entropy" in page(Report(builder(**changes)))


def test_the_page_comes_out_where_nothing_was_computed(builder):
    recipes = ("cross-entropy", "focal", "calattn", "mixup")
    pairs = [(d, b) for d in ("digits", "overlap") for b in ("vit-micro", "swin-micro")]
    text = page(Report(builder(missing=[(*pair, recipe) for pair in pairs for recipe in recipes], oracle=False)))
    assert "the loss is not finite" in text


def test_citations_come_from_the_bibliography():
    known = bibliography()
    assert known, "the bibliography that comes with calbench is empty"
    key = next(key for key, fields in known.items() if "title" in fields and "author" in fields)
    line = citations({key, "nobody1900nothing"})
    assert set(line) == {key}
    assert known[key]["title"] in line[key]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's test needs playwright")
    if CHROMIUM is None:
        pytest.skip("the page's test needs Debian's chromium, which is not installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens results as a page from disk; the page must log no error."""
    logged, pages = [], []

    def open_page(results, width=1280):
        path = tmp_path / "index.html"
        path.write_text(page(Report(results)), "utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(tab)
        tab.on("console", lambda message: logged.append(message.text))
        tab.on("pageerror", lambda error: logged.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith("file:") else logged.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for tab in pages:
        tab.close()
    assert logged == []


def shown(tab, column="0"):
    """The texts of a column of the rows that are seen."""
    script = """(rows, c) => rows.filter(r => !r.hidden).map(r => r.cells[c].dataset.v)"""
    return tab.locator("#cells tr[data-id]").evaluate_all(script, int(column))


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


SPLITS = ("shift-severity-0", "shift-severity-3", "shift-severity-5", "shift-fog-3", "shift-fog-5", "shift-patch",
          "shift-patch-11", "shift-imagenet-a", "shift-cifar10-c-fog-3", "ood-near", "ood-near-uncalibrated",
          "ood-far-mnist")  # fmt: skip


def test_splits_are_listed_by_what_they_are():
    assert [tuple(place_of(split)) for split in SPLITS] == [
        *(("Shifted, mean over corruptions", "generated corruptions", severity) for severity in (0, 3, 5)),
        *(("Shifted, by corruption", "fog", severity) for severity in (3, 5)),
        ("One corrupted patch", "mean over positions", None), ("One corrupted patch", "position 11", None),
        ("Shifted sets", "imagenet-a", None), ("Shifted, by corruption", "cifar10-c-fog", 3),
        ("Out of distribution, near", "mean of the near sets", None),
        ("Out of distribution, near", "mean of the near sets, before calibration", None),
        ("Out of distribution, far", "mnist", None),
    ]  # fmt: skip


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


def test_a_page_without_further_splits_has_no_section_of_them(results):
    assert "split-data" not in re.sub(r"<script>.*</script>", "", page(Report(results)), flags=re.DOTALL)


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


def test_a_smoke_test_says_so(builder):
    text = page(Report(builder(smoke=True)))
    assert "<title>SMOKE TEST: " in text
    assert 'role="alert"' in text
