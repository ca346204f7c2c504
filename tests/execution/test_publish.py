"""Published predictions: written to any address, and loaded as the predictions of another suite."""

import json
import re

import pytest
import yaml

from calbench.benchmark.config.publication import read_publication
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.publish import _paths, publish
from calbench.benchmark.execution.runner import run_suite
from calbench.benchmark.store.folder import Folder

READER = """\
predictions: [{{publication: "{address}"}}]
entries: [cross-entropy, temperature-scaling, vector-scaling]
seeds: [0, 1]
protocol: {{name: clean, calibration_fraction: 0.2, bootstrap: 20}}
"""


@pytest.fixture
def published(tiny, run, tmp_path):
    """Run the tiny suite with two seeds and publish it; gives a function of the address."""
    results = run(tiny, seeds=[0, 1], entries=["temperature-scaling"])
    suite = load_suite(tiny, seeds=[0, 1], entries=["temperature-scaling"])
    options = RunOptions(results_dir=str(tmp_path / "results"))
    return lambda address: (publish(suite, options, address), results)


@pytest.mark.parametrize("kind", ["folder", pytest.param("memory", marks=pytest.mark.slow)])
def test_a_publication_is_the_predictions_of_another_suite(published, tmp_path, kind):
    address = str(tmp_path / "public") if kind == "folder" else f"memory://{tmp_path.name}"
    manifest, before = published(address)
    assert [file.seed for file in manifest.predictions] == [0, 1]
    (tmp_path / "reader.yaml").write_text(READER.format(address=address))
    suite = load_suite(str(tmp_path / "reader.yaml"))
    after = run_suite(suite, RunOptions(results_dir=str(tmp_path / "again"), jobs=1))
    read_publication.cache_clear()
    keys = ["entry", "seed", "metric"]
    both = ["cross-entropy", "temperature-scaling"]
    first = before.table[before.table["entry"].isin(both)].set_index(keys)["value"].sort_index()
    second = after.table[after.table["entry"].isin(both)].set_index(keys)["value"].sort_index()
    assert first.equals(second)
    assert "vector-scaling" in set(after.table["entry"])


@pytest.mark.slow
def test_a_publication_names_no_path_and_describes_itself(published, tmp_path):
    published(str(tmp_path / "public"))
    texts = [path.read_text() for path in (tmp_path / "public").rglob("*") if path.suffix in (".md", ".json", ".csv")]
    assert len(texts) >= 5
    assert not any(str(tmp_path) in text for text in texts)
    card = (tmp_path / "public" / "README.md").read_text()
    assert card.startswith("---\npretty_name: Tiny\n")
    assert all(f"commit {commit}" in card for commit in commits(tmp_path / "public"))
    assert "calibration split" in card.lower()


def commits(folder):
    """The commits of the code that collected the results and that made the cells."""
    record = json.loads((folder / "results" / "run.json").read_text())
    made = {cell["version"]["commit"] for cell in record["cells"]} | {record["commit"]}
    return [commit or "unknown" for commit in made]


@pytest.mark.slow
def test_a_card_is_harmless_whatever_the_title(tiny, run, tmp_path):
    title = 'a: "b"\n[x](javascript:1) <b>|# é'
    settings = [f"title={json.dumps(title)}", "training.epochs=1"]
    run(tiny, entries=["cross-entropy"], settings=settings)
    suite = load_suite(tiny, entries=["cross-entropy"], settings=settings)
    publish(suite, RunOptions(results_dir=str(tmp_path / "results")), str(tmp_path / "public"))
    head, card = (tmp_path / "public" / "README.md").read_text().split("---\n")[1:3]
    assert yaml.safe_load(head)["pretty_name"].startswith('a: "b"')
    assert "[x](javascript" not in card
    assert "<b>" not in card


@pytest.mark.slow
def test_an_altered_file_is_refused(published, tmp_path):
    manifest, _ = published(str(tmp_path / "public"))
    file = tmp_path / "public" / manifest.predictions[0].path
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (tmp_path / "reader.yaml").write_text(READER.format(address=tmp_path / "public"))
    results = run_suite(load_suite(str(tmp_path / "reader.yaml")), RunOptions(results_dir=str(tmp_path / "r"), jobs=1))
    read_publication.cache_clear()
    reasons = [cell["reason"] or "" for cell in results.run["cells"]]
    assert "its checksum is not that of the manifest" in reasons[0]
    assert reasons[1] == ""


def test_a_manifest_that_is_missing_or_damaged_is_refused_with_the_line(tmp_path):
    path = tmp_path / "reader.yaml"
    path.write_text(READER.format(address=tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"reader\.yaml.*line 1.*no publication\.json at nowhere"):
        load_suite(str(path))
    for text, message in [("{", "truncated"), (json.dumps({"format": 2}), "format"), ("[1]", "publication")]:
        Folder(str(tmp_path / "bad")).write("publication.json", text.encode())
        path.write_text(READER.format(address=tmp_path / "bad"))
        read_publication.cache_clear()
        with pytest.raises(InputError, match=message):
            load_suite(str(path))


def test_a_suite_that_was_not_run_is_not_published(tiny, tmp_path):
    with pytest.raises(InputError, match="2 of 2 cells of tiny not there"):
        publish(load_suite(tiny), RunOptions(results_dir=str(tmp_path / "r")), str(tmp_path / "public"))


def test_settings_win_over_a_suites_overrides(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "datasets: [digits]\nbackbones: [vit-micro]\nentries: [cross-entropy]\ntraining: {epochs: 9}\n"
        "overrides:\n  - dataset: digits\n    training: {epochs: 5, lr: 0.5}\n"
    )
    suite = load_suite(str(path))
    assert suite.training_for(suite.datasets[0], suite.backbones[0]).epochs == 5
    suite = load_suite(str(path), settings=["training.epochs=1"])
    training = suite.training_for(suite.datasets[0], suite.backbones[0])
    assert (training.epochs, training.lr) == (1, 0.5)


def test_names_that_are_alike_in_ascii_get_a_file_each():
    titles = ["a b", "a-b", "A b", "\u65e5", "\u672c", "../../x", "x"]
    paths = _paths([(title, "vit", "recipe", "seed-0") for title in titles])
    assert len(set(paths)) == len(paths)
    assert all(re.fullmatch(r"predictions/[a-z0-9.-]+\.safetensors", path) for path in paths), paths


@pytest.mark.slow
def test_a_variation_of_a_suite_is_published_with_its_own_results(tiny, tmp_path, capsys):
    from calbench.benchmark.cli.main import main

    place = ["--results-dir", str(tmp_path / "r")]
    changed = [*place, "--set", "training.epochs=1", "--set", "entries=[cross-entropy]"]
    assert main(["run", tiny, *changed, "--jobs", "1"]) == 0, capsys.readouterr().err
    assert main(["publish", tiny, "--to", str(tmp_path / "public"), *changed]) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "public" / "results" / "run.json").read_text())
    assert record["config"]["training"]["epochs"] == 1
