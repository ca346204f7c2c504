import contextlib
import io

import pytest


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, text_of_tiny):
    """The results folder of the run that the tests of kills end again and again, here to its end; read only."""
    from killing import arguments

    from calbench.benchmark.cli.main import main

    folder = tmp_path_factory.mktemp("undisturbed")
    suite = folder / "tiny.yaml"
    suite.write_text(text_of_tiny)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(arguments(str(suite), folder / "whole", "--jobs", "1")) == 0
    return folder / "whole"
