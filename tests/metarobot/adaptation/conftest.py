import pytest
from carts import ADAPTING, make_policy


@pytest.fixture(params=ADAPTING)
def policy(request):
    return make_policy(request.param)
