"""What a wheel holds."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from documentation import ROOT

SOURCES = ("benchmark", "datasets", "methods", "results")


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_every_data_file(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="no setuptools to build a wheel with")
    ignored = shutil.ignore_patterns("__pycache__", "cache", ".*", "*-smoke")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    code = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    wheel = next((tmp_path / "dist").glob("calbench-*.whl"))
    held = {name.removeprefix("calbench/") for name in zipfile.ZipFile(wheel).namelist()}
    data = [path for path in (ROOT / "results" / "reference").rglob("*") if path.suffix in (".csv", ".yaml", ".bib")]
    for name in SOURCES[:-1]:
        data += [path for path in (ROOT / name).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    missing = {path.relative_to(ROOT).as_posix().removeprefix("benchmark/api/") for path in data} - held
    assert not missing
