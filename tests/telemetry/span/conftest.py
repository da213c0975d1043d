"""Every test here runs over both implementations of spans."""

import os
from typing import Any

import pytest
from tests.telemetry.span.making import Box

from spanrun import accelerator
from spanrun.telemetry.span import fallback


@pytest.fixture(params=["core", "fallback"])
def part(request: pytest.FixtureRequest) -> Any:
    """The module with the classes: compiled, or in plain Python."""
    if request.param == "fallback":
        return fallback
    core = accelerator.core
    if core is not None and hasattr(core, "Span"):
        return core
    why = accelerator.WHY_NOT or "it has no spans yet"
    if os.environ.get("SPANRUN_REQUIRE_NATIVE"):
        pytest.fail(f"SPANRUN_REQUIRE_NATIVE is set, but there is no core: {why}")
    return pytest.skip(f"no compiled part: {why}")


@pytest.fixture
def box(part: Any) -> Box:
    return Box(part)
