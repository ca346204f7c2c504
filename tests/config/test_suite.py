import re

import pytest

from calbench.benchmark.config.protocol import named_protocols
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.config.suite_file import suite_files
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.plan import make_plan

GOOD = """\
datasets: [digits]
backbones: [vit-micro]
entries:
  - cross-entropy
  - temperature-scaling
  - calattn
seeds: [0, 1]
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("name", suite_files())
def test_every_suite_that_comes_with_calbench_is_good(name):
    # Large networks are built on the meta device: one of the twelve of pretrained-imagenet; the next test has names.
    few = ["backbones=['timm:deit_small_patch16_224.fb_in1k(pretrained=true)']"]
    suite = load_suite(name, settings=few if name == "pretrained-imagenet" else [])
    assert suite.baseline in [entry.name for entry in suite.entries]
    assert suite.config.title


def test_the_pretrained_networks_are_known_to_timm():
    import timm

    names = re.findall(r"timm:([\w.]+)\(pretrained=true\)", suite_files()["pretrained-imagenet"].read_text("utf-8"))
    assert len(names) == 12
    assert set(names) <= set(timm.list_models(pretrained=True))


@pytest.mark.parametrize("name", named_protocols())
def test_every_protocol_makes_a_suite(write, name):
    suite = load_suite(write(GOOD), settings=[f"protocol={name}"])
    assert suite.protocol.name == name
    assert suite.protocol.description in suite.protocol.lines([0], "cross-entropy", [], trained=True)[0]
    suite.training_for(suite.datasets[0], suite.backbones[0])


def test_cells_are_shared_by_entries_of_one_recipe(write):
    plan = make_plan(load_suite(write(GOOD)), lambda dataset: "print")
    assert [(work.cell.recipe.name, len(work.entries), work.cell.seed) for work in plan] == [
        ("cross-entropy", 2, 0),
        ("cross-entropy-brier + calattn", 1, 0),
        ("cross-entropy", 2, 1),
        ("cross-entropy-brier + calattn", 1, 1),
    ]
    assert len({work.cell.key for work in plan}) == 4


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("training.epochs=3", 4),
        ("protocol.calibration_fraction=0.2", 4),
        ("protocol.bins=10", 0),
        ("protocol.bootstrap=30", 0),
        ("training.save_seconds=1", 0),
        ("title=other", 0),
        ("entries=[cross-entropy, temperature-scaling(criterion=ece), calattn(hidden=8)]", 2),
        ("datasets=[overlap]", 4),
        ("seeds=[0, 2]", 2),
    ],
)
def test_a_changed_option_changes_exactly_the_cells_it_touches(write, setting, changed):
    path = write(GOOD)
    before = {work.cell.key for work in make_plan(load_suite(path), lambda dataset: "print")}
    after = {work.cell.key for work in make_plan(load_suite(path, settings=[setting]), lambda dataset: "print")}
    assert len(after - before) == changed


def test_another_fingerprint_is_another_cell(write):
    suite = load_suite(write(GOOD))
    keys = [{work.cell.key for work in make_plan(suite, lambda dataset, p=p: p)} for p in ("a", "b")]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("digits", "digitz", "mine.yaml, line 1: unknown dataset 'digitz' (did you mean 'digits'?)"),
        ("vit-micro", "vit-mikro", "line 2: unknown backbone 'vit-mikro' (did you mean 'vit-micro'?)"),
        ("- calattn", "- calatn", "line 6: unknown method 'calatn' (did you mean 'calattn'?)"),
        ("- calattn", "- calattn(tokens=all)", "line 6: calattn: option tokens='all'"),
        ("- calattn", "- calattn(hiden=3)", "line 6: unknown option of calattn 'hiden' (did you mean 'hidden'?)"),
        ("- calattn", "- temperature-scaling", "line 6: 'temperature-scaling' is named twice"),
        ("- calattn", "- mmce + mixup", "line 6: entry 'mmce + mixup': mixup makes soft targets"),
        ("seeds: [0, 1]", "seeds: [0, x]", "line 7: seeds"),
        ("seeds: [0, 1]", "seeds: [-1]", "line 7: seeds"),
        ("seeds: [0, 1]", f"seeds: [{2**31}]", "line 7: seeds"),
        ("seeds: [0, 1]", f"seeds: [{10**30}]", "line 7: seeds"),
        ("seeds: [0, 1]", "seeds: 0", "line 7: seeds: Input should be a valid list; or Input should be greater"),
        ("seeds: [0, 1]", "seeds: 1\nseeds: 2", "mine.yaml, line 8: 'seeds' is given twice"),
        ("seeds: [0, 1]", "training: {lr: 1, lr: 2}", "line 7: 'lr' is given twice"),
        ("seeds: [0, 1]", "reference: nope", "line 7: unknown reference 'nope'; known: abet2024"),
        ("seeds: [0, 1]", "overrides: [{training: {epoch: 3}}]", "line 7: training: unknown option 'epoch' (did you"),
        ("seeds: [0, 1]", "protocol: {bootstrap: 3}", "line 7: protocol: bootstrap: expected 0 (no"),
        ("seeds: [0, 1]", "sedes: [0]", "unknown option 'sedes' (did you mean 'seeds'?)"),
        ("seeds: [0, 1]", "protocol: clena", "line 7: unknown protocol 'clena' (did you mean 'clean'?)"),
        ("seeds: [0, 1]", "protocol: {bin: 3}", "line 7: protocol: unknown option 'bin' (did you mean 'bins'?)"),
        ("seeds: [0, 1]", "protocol: {metrics: [acuracy]}", "unknown metric 'acuracy' (did you mean 'accuracy'?)"),
        ("seeds: [0, 1]", "training: {epoch: 3}", "line 7: training: unknown option 'epoch' (did you mean 'epochs'?)"),
        ("seeds: [0, 1]", "training: {learning_rate: 1}", "unknown option 'learning_rate' (did you mean 'lr'?)"),
        ("seeds: [0, 1]", "protocol: {n_bins: 3}", "unknown option 'n_bins' (did you mean 'bins'?)"),
        ("seeds: [0, 1]", "epochs: 3", "unknown option 'epochs' (did you mean 'training'?)"),
        ("seeds: [0, 1]", "training: {epochs: -1}", "line 7: training: epochs"),
        ("seeds: [0, 1]", "protocol: {name: }", "line 7: unknown protocol None"),
        ("seeds: [0, 1]", "protocol: {~: 1}", "line 7: protocol"),
        ("seeds: [0, 1]", "training: {~: 1}", "line 7: training"),
        ("seeds: [0, 1]", "baseline: foccal", "line 7: unknown method 'foccal' (did you mean 'focal'?)"),
        ("seeds: [0, 1]", "overrides: [{backbone: vit, training: {}}]", "line 7: unknown backbone of an override"),
        ("datasets: [digits]", "datasets: []", "go together"),
        ("[vit-micro]", "[swin-micro]\nx: 1", "unknown option 'x'"),
        ("entries:", "entries: [", "line 4: not valid YAML"),
        ("datasets: [digits]", "- digits", "not valid YAML"),
    ],
)
def test_bad_suites_name_file_line_and_nearest(write, old, new, message):
    with pytest.raises(InputError) as error:
        load_suite(write(GOOD.replace(old, new)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_impossible_combination_is_refused_with_the_reason(write):
    text = GOOD.replace("vit-micro", "vit-micro, swin-micro").replace("- calattn", "- calattn(tokens=concat)")
    with pytest.raises(InputError, match=r"line 6: calattn with tokens=concat on swin-micro: .* no \[CLS\]"):
        load_suite(write(text))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "3", "{1: 2}", "\x00", "a: !!python/object/apply:os.system ['x']"])
def test_what_is_no_suite_is_one_clear_error(write, text):
    with pytest.raises(InputError, match="mine.yaml"):
        load_suite(write(text))


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="did you mean 'quick'"):
        load_suite("quikc")
    with pytest.raises(InputError, match="no such file"):
        load_suite(str(tmp_path / "none.yaml"))
    (tmp_path / "cache.yaml").write_text(GOOD)
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        load_suite(str(tmp_path / "cache.yaml"))


@pytest.mark.parametrize("setting", ["epochs", "=3", "trainin.epochs=3", "seeds.x=3", "training.epochs=[1"])
def test_bad_settings(write, setting):
    with pytest.raises(InputError):
        load_suite(write(GOOD), settings=[setting])


def test_settings_entries_and_seeds_override(write):
    suite = load_suite(write(GOOD), settings=["training.epochs=7"], entries=["focal"], seeds=[5])
    assert [entry.name for entry in suite.entries] == ["cross-entropy", "focal"]
    assert suite.seeds == (5,)
    assert suite.training_for(suite.datasets[0], suite.backbones[0]).epochs == 7


def test_overrides_hold_where_they_match(write):
    text = GOOD + "training: {lr: 0.1}\noverrides:\n  - {backbone: vit-micro, dataset: digits, training: {lr: 0.2}}\n"
    suite = load_suite(write(text))
    assert suite.training_for(suite.datasets[0], suite.backbones[0]).lr == 0.2


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "float32")])
def test_on_a_gpu_the_precision_auto_is_resolved_before_it_enters_the_key(write, monkeypatch, bf16, precision):
    import torch

    suite = load_suite(write(GOOD))
    on_cpu = make_plan(suite, lambda dataset: "print", device="cpu")[0].cell
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    on_gpu = make_plan(suite, lambda dataset: "print")[0].cell
    assert on_gpu.training.precision == precision
    assert on_gpu.key != on_cpu.key
    assert make_plan(suite, lambda dataset: "print", device="cpu")[0].cell.key == on_cpu.key
