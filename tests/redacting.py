"""Both redactions, the compiled and the one in Python, for tests that run over them."""

import pytest

from spanrun import text as texts

HERE = texts.core is not None

BOTH = pytest.mark.parametrize(
    "redact",
    [
        pytest.param(texts.redact_in_python, id="python"),
        pytest.param(
            texts.core.redact if texts.core is not None else None,
            marks=pytest.mark.skipif(not HERE, reason="spanrun._core isn't built"),
            id="compiled",
        ),
    ],
)
"""Run a test with ``redact`` as its argument."""
COMPILED = pytest.mark.skipif(not HERE, reason="spanrun._core isn't built")
