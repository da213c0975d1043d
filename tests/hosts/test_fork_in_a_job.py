"""A job that forks, and whose child ends by `sys.exit`: its spans are the parent's."""

import os
from collections import Counter
from pathlib import Path

import pytest
from tests.hosts.test_processes import environment, finish, start
from tests.telemetry.export.receiver import receiving
from tests.telemetry.test_variables import Arrived

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here"),
]

PROGRAM = """
async def job(number):
    with sr.unit("forks"):
        if number == 2:
            child = os.fork()
            if not child:
                sys.exit(0)
            os.waitpid(child, 0)

async def main():
    policy = sr.Retry(on=OSError)
    async with sr.Runner("forking", limit=1, retry=policy) as runner:
        await runner.map(job, range(4))

configure()
sr.run(main())
"""


def test_the_open_spans_are_sent_once(tmp_path: Path) -> None:
    with receiving() as receiver:
        finish(start(tmp_path, PROGRAM, environment(receiver.url)))
    spans = Arrived(receiver.requests).spans()
    assert Counter(span.name for span in spans) == {
        "run forking": 1,
        "job forking": 4,
        "attempt forking": 4,
        "forks": 4,
    }
    assert len({span.span_id for span in spans}) == len(spans)
