"""What a record says of the code that runs."""

import importlib.util
import shutil
import subprocess

from calbench.benchmark.core import environment


def _commit_of(path):
    spec = importlib.util.spec_from_file_location("copied_environment", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.commit()


def test_the_commit_is_of_the_repository_that_tracks_the_code_not_of_one_around_it(tmp_path):
    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    installed = tmp_path / ".venv" / "calbench" / "environment.py"
    installed.parent.mkdir(parents=True)
    shutil.copy(environment.__file__, installed)
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("add", ".")
    git("commit", "-qm", "a project that uses calbench")
    assert _commit_of(installed) is None
    git("add", "-f", str(installed))
    git("commit", "-qm", "the code itself")
    assert _commit_of(installed) == git("rev-parse", "HEAD")[:12]
    installed.write_text(installed.read_text() + "\n")
    assert _commit_of(installed).endswith("-dirty")
