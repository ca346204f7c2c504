import pytest

from calbench.benchmark.cli import compare as commands_compare
from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics import registry as metric_registry
from calbench.benchmark.results.reference import (
    REFERENCE_COLUMNS,
    align,
    describe,
    entry_name,
    gains,
    load_reference,
    reference_files,
    summary,
)

TS = "temperature-scaling(criterion=ece)"


@pytest.fixture(scope="module")
def calattn():
    return load_reference("calattn2026")


def published(reference, *key):
    names = ("dataset", "backbone", "entry", "metric")
    found = reference[(reference[list(names)] == list(key)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("name", list(reference_files()))
def test_every_file_reads_in_our_names_and_once(name):
    reference = load_reference(name)
    assert list(reference.columns) == REFERENCE_COLUMNS
    assert not reference.duplicated(["dataset", "backbone", "entry", "metric"]).any()
    assert set(reference["metric"]) <= {*metric_registry, "temperature"}
    assert reference["value"].between(0, 100).all()
    for entry in reference["entry"].unique():
        assert parse_entry(entry).name == entry
    for ours in describe(name).aliases.values():
        parse_entry(ours)


def test_published_cells_stand_under_our_names(calattn):
    assert published(calattn, "cifar100", "vit-b16-224", "cross-entropy", "ece")["value"] == 13.11
    assert published(calattn, "cifar10", "swin-s-224", f"calattn + {TS}", "smece-calattn")["value"] == 1.11
    assert published(calattn, "cifar100", "swin-s-224", f"focal-flsd53-calattn + {TS}", "temperature")["value"] == 0.8
    guo = load_reference("guo2017")
    assert published(guo, "cifar100", "resnet110-32", "temperature-scaling", "ece")["value"] == 1.26
    mukhoti = load_reference("mukhoti2020")
    key = ("cifar10", "resnet110-32(variant=mukhoti2020)", "focal", "ece")
    assert published(mukhoti, *key)["value"] == 1.55
    assert published(mukhoti, "tiny-imagenet", "resnet50-32", f"label-smoothing + {TS}", "ece")["value"] == 6.51


def test_suspect_cells_are_those_that_the_numbers_themselves_contradict(calattn):
    values = calattn[calattn["metric"] != "temperature"].copy()
    values["scaled"] = values["entry"].str.contains(TS, regex=False)
    values["model"] = values["entry"].str.replace(f" + {TS}", "").str.replace(TS, "cross-entropy")
    spread = values.groupby(["dataset", "backbone", "model", "scaled"])["value"].agg(lambda v: v.max() - v.min())
    wide = set(spread[spread > 0.9].index.droplevel("scaled"))
    marked = set(values[values["suspect"]].set_index(["dataset", "backbone", "model"]).index)
    assert wide <= marked
    assert marked - wide == {("cifar100", "vit-b16-224", "brier")}
    swapped = published(calattn, "cifar100", "deit-s16-224", "dual-focal-calattn + calattn", "ece")
    assert swapped["suspect"]
    assert "swapped" in swapped["note"]
    assert not published(calattn, "cifar10", "deit-s16-224", "dual-focal-calattn", "ece")["suspect"]


def test_wins_and_losses_of_calattn_over_all_published_cells(calattn):
    found = summary(gains(calattn, "calattn")).set_index(["dataset", "metric", "then"])
    assert (found["cells"] == 21).all()
    assert (found["better"] + found["worse"] + found["equal"] == 21).all()
    counts = {key: tuple(row) for key, row in found[["better", "worse"]].iterrows()}
    assert counts == {
        ("cifar10", "ece", "none"): (15, 6),
        ("cifar100", "ece", "none"): (19, 2),
        ("cifar10", "ece", TS): (16, 5),
        ("cifar100", "ece", TS): (17, 4),
        ("cifar10", "adaece", "none"): (13, 8),
        ("cifar100", "adaece", "none"): (17, 3),
        ("cifar10", "adaece", TS): (14, 7),
        ("cifar100", "adaece", TS): (14, 5),
        ("cifar10", "smece-calattn", "none"): (13, 8),
        ("cifar100", "smece-calattn", "none"): (16, 4),
        ("cifar10", "smece-calattn", TS): (14, 7),
        ("cifar100", "smece-calattn", TS): (16, 5),
    }
    before, after = found.loc[("cifar10", "ece", "none")], found.loc[("cifar100", "ece", TS)]
    assert before["ratio_of_means"] == pytest.approx(100 * (1 - before["mean"] / before["baseline_mean"]))
    assert before["median"] == pytest.approx(7.24, abs=0.005)
    assert (before["smallest"], before["largest"]) == pytest.approx((-44.13, 60.80), abs=0.005)
    assert after["largest"] == pytest.approx(77.72, abs=0.005)
    assert after["mean_of_ratios"] == pytest.approx(22.69, abs=0.005)


def test_the_default_objective_of_a_head_has_its_counterpart(calattn):
    found = gains(calattn, "calattn")
    brier = found[(found["base"] == "cross-entropy-brier") & (found["metric"] == "ece") & (found["then"] == TS)]
    row = brier[(brier["dataset"] == "cifar100") & (brier["backbone"] == "deit-s16-224")].iloc[0]
    assert (row["without"], row["with"]) == (3.86, 0.86)
    assert row["reduction"] == pytest.approx(77.72, abs=0.005)


def test_a_method_without_counterpart_is_refused(calattn):
    with pytest.raises(InputError, match="both with and without 'mixup'"):
        gains(calattn, "mixup")


def test_other_entries_of_ours_stand_in_only_where_the_own_one_was_not_run(calattn):
    ours = ["mmce", "focal-flsd53-calattn", "focal-flsd53", "mmce + calattn + temperature-scaling"]
    aligned = align(calattn, "calattn2026", ours).drop_duplicates("published_entry").set_index("published_entry")
    assert aligned.at["mmce-calattn", "entry"] == "mmce"
    assert aligned.at["focal-flsd53-calattn", "entry"] == "focal-flsd53-calattn"
    assert aligned.at[f"mmce-calattn + calattn + {TS}", "entry"] == "mmce + calattn + temperature-scaling"
    assert aligned.at["brier", "entry"] == "brier"


def test_an_own_file_and_its_entries():
    assert entry_name("cross-entropy + temperature-scaling") == "temperature-scaling"
    assert entry_name("focal + not-here") == "focal + not-here"
    with pytest.raises(InputError, match=r"unknown reference 'calatn2026'.*calattn2026"):
        load_reference("calatn2026")
    with pytest.raises(InputError, match=r"reference none\.csv"):
        load_reference("none.csv")


def compare(*arguments):
    return commands_compare.app(list(arguments), standalone_mode=False)


@pytest.mark.slow
def test_the_command_sums_up_a_reference(capsys):
    assert compare("--reference", "calattn2026", "--format", "csv") == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("cifar10,ece,none"))
    assert row.split(",")[4:8] == ["21.0", "15.0", "6.0", "0.0"]
    compare("--reference", "calattn2026", "--drop-suspect", "--format", "markdown")
    shown = capsys.readouterr().out
    assert "42 suspect cells are left out" in shown
    assert "| cifar10" in shown
    assert "| smece-calattn |" in shown
    compare("--reference", "mukhoti2020")
    assert "cifar100" in capsys.readouterr().out
    assert compare("--reference", "guo2017", "--format", "latex") == 0
    assert r"\begin{tabular}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a suite"),
        (["quick", "--method", "calattn"], "leave out the suite"),
        (["not-run", "--reference", "calattn2026", "--results-dir", "nowhere"], "run the suite first"),
        (["--reference", "mine.csv"], r"mine\.csv"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments, message):
    with pytest.raises(InputError, match=message):
        compare(*arguments)
