"""After a fork the child has other ids, and ends nothing of its parent's."""

import importlib
import os
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from tests.telemetry.span.making import Box, tail_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
import importlib, os, sys

sys.path.insert(0, {root!r})
from tests.telemetry.span.making import Box, names, tail_of

part = importlib.import_module({module!r})
out = []
box = Box(part, tail=tail_of(part, lambda spans, _: out.append(spans)))


def child(check):
    pid = os.fork()
    if not pid:
        try:
            check()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def ids():
    drawn = {{part.random_bits(64) for _ in range(100)}}
    drawn |= {{part.random_bits(128) for _ in range(100)}}
    span = box.start()
    return drawn | {{span.trace_id, span.span_id}}
"""

IDS = """
read, write = os.pipe()
part.random_bits(64)


def tell():
    os.write(write, repr(ids()).encode())


child(tell)
child(tell)
os.close(write)
with os.fdopen(read) as told:
    one, other = (eval(each + "}") for each in told.read().split("}")[:2])
mine = ids()
assert len(one) == len(other) == len(mine) == 202
assert not one & other and not one & mine and not other & mine
"""

SPANS = """
box.ours.threshold = 1 << 56
waiting = box.start("root, not drawn")
box.below(waiting, "waits").end()
box.ours.threshold = 0
drawn = box.start("drawn")
box.start("in the buffer").end()


def check():
    box.ours.disown()
    box.ours.tail = None
    box.buffer.take()
    again = Box(part, tail=tail_of(part, lambda spans, _: out.append(spans)))
    for span in (waiting, drawn):
        span.mark(part.RETRIED)
        span.end()
    assert box.take() == [] and out == [], (box.take(), out)
    again.start("of the child").end()
    assert names(again.take()) == ["of the child"]
    assert not box.failures and not again.failures


child(check)
waiting.mark(2)
for span in (waiting, drawn):
    span.end()
assert sorted(names(box.take())) == [
    "drawn", "in the buffer", "root, not drawn", "waits"
], box.take()
"""

TAIL = """
tail = box.ours.tail
box.ours.threshold = 1 << 56
waiting = box.start("root")
box.below(waiting, "waits").end()


def check():
    tail.after_fork()
    box.ours.disown()
    again = Box(part, tail=tail)
    again.ours.threshold = 1 << 56
    root = again.start("of the child")
    again.below(root).end()
    root.mark(2)
    root.end()
    tail.close()
    assert sorted(names(again.take())) == ["child", "of the child"]
    assert out == [] and box.take() == [], (out, box.take())


child(check)
waiting.end()
assert out == [2]
"""

RESEED = """
before = part.random_bits(128)
part.reseed()
assert part.random_bits(128) != before
"""


@pytest.mark.parametrize("program", [IDS, SPANS, TAIL, RESEED], ids=range(4))
def test_in_a_child(part: Any, program: str) -> None:
    """In a program of its own: this one has threads."""
    root = os.fspath(importlib.import_module("tests.waiting").__file__ or "")
    root = os.path.dirname(os.path.dirname(root))  # noqa: PTH120 -- of a text
    head = PROGRAM.format(root=root, module=part.__name__)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", head + program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_ids_are_never_the_same(part: Any) -> None:
    drawn = [part.random_bits(64) for _ in range(10_000)]
    drawn += [part.random_bits(128) for _ in range(10_000)]
    assert len(set(drawn)) == len(drawn)
    assert all(drawn)
    assert max(drawn[:10_000]).bit_length() == 64
    assert max(drawn[10_000:]).bit_length() == 128


def test_nothing_is_kept_of_spans_that_have_ended(part: Any) -> None:
    box = Box(part, tail=tail_of(part, lambda *_: None))

    def work(spans: int) -> None:
        for number in range(spans):
            box.ours.threshold = (1 << 56) * (number % 2)
            with box.start("root") as root:
                root.set_attribute("number", number)
                root.add_event("e", {"number": number})
                with box.below(root) as child:
                    child.set_attribute("text", f"text {number}")
            if number % 100 == 0:
                box.buffer.take()
        box.buffer.take()

    work(500)  # what is remembered of keys and names
    tracemalloc.start()
    try:
        work(500)
        before, _ = tracemalloc.get_traced_memory()
        work(3_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    texts = 3_000 * 200  # short ones are remembered as harmless, up to a bound
    assert after - before < texts + 100_000
