# Recipes for developers; `just` lists them.

default:
    @just --list

# What CI checks before the tests: style, layers, types
check:
    ruff check .
    ruff format --check .
    bash .ci/static

# The whole test suite
test *arguments:
    pytest {{arguments}}

# The tests that take less than a few seconds each
fast:
    pytest -m "not slow"

# Which lines the fast tests run
coverage:
    pytest -m "not slow" --cov --cov-report=term

# The documentation, rebuilt as you write
docs:
    mkdocs serve

# The quick suite, and its tables
quick:
    python run_all.py quick
