"""Every calibrator in turn; those that take long only in the slow tests."""

import pytest
from calibrator_fits import NETWORKS, TREES, available, swept


@pytest.fixture(params=swept(TREES))
def any_name(request):
    return available(request.param)


@pytest.fixture(params=swept((*TREES, *NETWORKS)))
def name(request):
    return available(request.param)
