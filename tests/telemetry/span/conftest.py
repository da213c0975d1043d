"""Every test here runs over both implementations of spans."""

import os
from typing import Any

import pytest
from opentelemetry.trace import Span
from tests.telemetry.span.making import Box

from spanrun import accelerator
from spanrun.telemetry.span import fallback


@pytest.fixture(params=["core", "fallback"])
def part(request: pytest.FixtureRequest) -> Any:
    """The module with the classes: compiled, or in plain Python."""
    chosen: Any = fallback if request.param == "fallback" else accelerator.core
    if not hasattr(chosen, "Span"):
        why = accelerator.WHY_NOT or "it has no spans yet"
        if os.environ.get("SPANRUN_REQUIRE_NATIVE"):
            pytest.fail(f"SPANRUN_REQUIRE_NATIVE is set, but there is no core: {why}")
        pytest.skip(f"no compiled part: {why}")
    Span.register(chosen.Span)  # as the package does with the one that it chose
    return chosen


@pytest.fixture
def box(part: Any) -> Box:
    return Box(part)
