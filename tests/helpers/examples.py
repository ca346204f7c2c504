"""How many examples hypothesis tries: all that a test asks for, or in the fast set (``-m "not slow"``) a few."""

from hypothesis import settings

FEW = 8


def load_profile(fast):
    """The same examples in every run: a failure is one of the change that it came with."""
    settings.register_profile("calbench", derandomize=True, deadline=None, max_examples=FEW if fast else 1000)
    settings.load_profile("calbench")


def at_most(count, **options):
    """Settings of a test for `count` examples."""
    return settings(max_examples=min(count, settings.default.max_examples), **options)
