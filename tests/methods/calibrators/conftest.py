"""Every calibrator in turn; those that take long only in the slow tests."""

import pytest
from calibrator_fits import NAMES, TREES, available, one_per_family, swept
from fast_set import fast_only


@pytest.fixture(params=swept(TREES))
def any_name(request):
    return available(request.param)


@pytest.fixture(params=fast_only(one_per_family(), NAMES))
def name(request):
    return available(request.param)
