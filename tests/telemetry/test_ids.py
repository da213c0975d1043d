"""Ids are random, and a forked child draws others."""

import random
import subprocess
import sys

import pytest
from tests.telemetry.span.tracing import Box

from spanrun.telemetry.ids import RandomIds
from spanrun.telemetry.span import random_bits, reseed


def test_ids_differ_and_are_as_wide_as_they_may_be() -> None:
    ids = RandomIds()
    traces = {ids.generate_trace_id() for _ in range(1_000)}
    spans = {ids.generate_span_id() for _ in range(1_000)}
    assert len(traces) == len(spans) == 1_000
    assert 120 < max(traces).bit_length() <= 128
    assert 60 < max(spans).bit_length() <= 64


@pytest.mark.parametrize("size", [64, 128])
def test_random_bits_are_as_many_as_asked_for_and_never_0(size: int) -> None:
    drawn = [random_bits(size) for _ in range(1_000)]
    assert len(set(drawn)) == 1_000
    assert size - 8 < max(drawn).bit_length() <= size
    assert 0 not in drawn


def test_a_program_that_seeds_the_random_module_has_other_ids() -> None:
    random.seed(1)
    before = random_bits(128)
    random.seed(1)
    assert random_bits(128) != before


def test_anew_means_other_bits() -> None:
    before = random_bits(128)
    reseed()
    assert random_bits(128) != before


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
from spanrun.telemetry.span.provider import NativeTracerProvider
resource = Resource({"service.instance.id": "parent", "process.pid": os.getpid()})
tracer = NativeTracerProvider(resource=resource).get_tracer("x")
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


@pytest.mark.skipif(sys.platform != "linux", reason="forks by the C library's name")
@pytest.mark.parametrize("page", ["source.page", "None"])
def test_without_the_compiled_part_a_fork_by_c_is_noticed(page: str) -> None:
    script = f"""
import ctypes, os
from spanrun.telemetry.span import ids
source = ids._source
source.page = {page}
ids.draw(64)
reader, writer = os.pipe()
child = ctypes.PyDLL(None).fork()
drawn = [ids.draw(64) for _ in range(3)]
if child == 0:
    os.write(writer, repr(drawn).encode())
    os._exit(0)
os.waitpid(child, 0)
theirs = eval(os.read(reader, 1000))
print(len(set(drawn + theirs)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["6"]
