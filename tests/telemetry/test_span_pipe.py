"""A pipe hands over each span that ends, whether it failed or not."""

from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from tests.telemetry.span.making import Box

from spanrun.accelerator import core
from spanrun.telemetry import span_pipe
from spanrun.telemetry.account import Account
from spanrun.telemetry.span import Batch, fallback


class Exit:
    waits = False

    def __init__(self) -> None:
        self.taken = {True: 0, False: 0}

    def spans(self, batch: Batch) -> None:
        self.taken[batch.failed] += batch.spans


@pytest.mark.parametrize("part", [fallback, core] if core else [fallback])
def test_what_stayed_when_room_was_made_is_handed_over(
    part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_pipe, "Buffer", part.Buffer)
    monkeypatch.setattr(span_pipe, "_MAX_BYTES", 10_000)
    leave, box = Exit(), Box(part)
    pipe = span_pipe.SpanPipe([leave], Account())
    box.ours.buffer = pipe.buffer
    for number in range(2_000):
        span = box.start(str(number))
        if number % 20 == 0:
            span.set_status(StatusCode.ERROR)
        span.end()
    assert pipe.flush(60)
    assert pipe.waiting == 0
    assert pipe.close(60)
    assert leave.taken == {True: 100, False: 1_900}
