"""The implementations of cells, as parameters: what holds for one holds for all."""

import importlib

import pytest

from spanrun.telemetry.metrics import fallback

try:
    core = importlib.import_module("spanrun._core")
except ImportError:
    core = None

KINDS = [
    pytest.param(
        core, id="compiled", marks=pytest.mark.skipif(core is None, reason="not built")
    ),
    pytest.param(fallback, id="python"),
]

each_kind = pytest.mark.parametrize("cells", KINDS)
