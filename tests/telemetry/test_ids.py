"""Ids are random, and a forked child draws others."""

import struct
import subprocess
import sys

import pytest
from tests.telemetry.spans.tracing import Box

from spanrun.speed import FAST, RandomBits
from spanrun.telemetry.ids import RandomIds


def test_ids_differ_and_are_as_wide_as_they_may_be() -> None:
    ids = RandomIds()
    traces = {ids.generate_trace_id() for _ in range(1_000)}
    spans = {ids.generate_span_id() for _ in range(1_000)}
    assert len(traces) == len(spans) == 1_000
    assert 120 < max(traces).bit_length() <= 128
    assert 60 < max(spans).bit_length() <= 64


def test_random_bits_are_those_of_their_seed() -> None:
    seeds = [bytes(range(32)), bytes(range(32)), bytes(range(1, 33))]
    source = RandomBits(seeds.pop)
    drawn = []
    for _ in range(3):
        drawn.append([source.draw(64), source.draw(128), source.draw(64)])
        if seeds:
            source.renew()
    assert drawn[1] == drawn[2] != drawn[0]


@pytest.mark.skipif(not FAST, reason="the part in C isn't in use")
def test_the_random_bits_in_c_are_xoshiro() -> None:
    source = RandomBits(lambda: struct.pack("<4Q", 1, 2, 3, 4))
    assert [source.draw(64) for _ in range(3)] == [11520, 0, 1509978240]
    for wrong in (0, 63, "64"):
        with pytest.raises((ValueError, TypeError)):
            source.draw(wrong)
    with pytest.raises(ValueError, match="32 bytes"):
        RandomBits(lambda: b"short").draw(64)
    with pytest.raises(ZeroDivisionError):
        RandomBits(lambda: 1 // 0).draw(128)


def test_another_generator_can_be_used() -> None:
    class Fixed(RandomIds):
        def generate_trace_id(self) -> int:
            return 77

        def generate_span_id(self) -> int:
            return 88

    span = Box(id_generator=Fixed()).start()
    assert (span.trace_id, span.span_id) == (77, 88)


def test_a_forked_child_draws_other_ids_and_is_another_instance() -> None:
    script = """
import os, sys
from opentelemetry.sdk.resources import Resource
from spanrun.telemetry.spans.provider import NativeTracerProvider
resource = Resource({"service.instance.id": "parent", "process.pid": os.getpid()})
tracer = NativeTracerProvider(print, resource=resource).get_tracer("x")
tracer.start_span("drawn before")
reader, writer = os.pipe()
child = os.fork()
span = tracer.start_span("a")
told = span.resource.attributes
line = f"{span.trace_id} {told['service.instance.id']} {told['process.pid']}"
if child == 0:
    os.write(writer, line.encode())
    os._exit(0)
os.waitpid(child, 0)
print(line, os.read(reader, 1000).decode(), child)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    ours, us, _, theirs, them, pid, child = done.stdout.split()
    assert us == "parent"
    assert (ours != theirs, us != them, pid) == (True, True, child)
