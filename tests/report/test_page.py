"""The page as text: what it holds, and that nothing of a run becomes markup."""

import re
from html.parser import HTMLParser

import pytest
from fast_set import slowly
from pages import SPLITS, with_evil_names

from calbench.benchmark.report.render.page import embedded_json, page
from calbench.benchmark.report.render.page_splits import place_of
from calbench.benchmark.report.render.papers import bibliography, citations
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.cells import NO_POSTERIOR


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"compare": False}, *slowly({"oracle": False, "datasets": ("digits",)}, {"seeds": (3,)})]
)
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


def test_a_page_without_further_splits_has_no_section_of_them(results):
    assert "split-data" not in re.sub(r"<script>.*</script>", "", page(Report(results)), flags=re.DOTALL)


@pytest.mark.slow
def test_a_smoke_test_says_so(builder):
    text = page(Report(builder(smoke=True)))
    assert "<title>SMOKE TEST: " in text
    assert 'role="alert"' in text


@pytest.mark.slow
def test_that_real_data_have_no_posterior_is_no_reason_on_a_card(builder):
    text = page(Report(builder(oracle=True)))
    assert NO_POSTERIOR in text, "as the tooltip of a cell"
    assert not re.search(rf'class="reason">[^<]*{NO_POSTERIOR}', text)
