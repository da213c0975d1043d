"""What is promised of units holds with every provider."""

from collections.abc import Iterator

import pytest
from tests.telemetry.units.recording import Recording

from spanrun.telemetry import setup


@pytest.fixture(params=["native", "foreign"])
def recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    made = Recording(request.param)
    with setup.use(made.recorder):
        yield made
    assert not made.account.dropped
