"""The package as a whole: what importing it does, and its names."""

import inspect
import json
import os
import subprocess
import sys

import pytest

import spanrun

BUDGET = 12
"""What ``import spanrun`` may take, in million rounds of an empty loop: some 0.3 s."""

IMPORT = """
import json, sys, threading, time
before = set(sys.modules)
started = time.process_time()
import spanrun
seconds = time.process_time() - started
started = time.process_time()
for _ in range(1_000_000): pass
rounds = seconds / (time.process_time() - started)
import logging, signal
from opentelemetry import metrics, trace
print(json.dumps({
    "rounds": rounds,
    "threads": threading.active_count(),
    "tracers": type(trace.get_tracer_provider()).__name__,
    "meters": type(metrics.get_meter_provider()).__name__,
    "handlers": len(logging.getLogger("spanrun").handlers),
    "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    "modules": sorted(set(sys.modules) - before),
}))
"""


def import_it():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def imported():
    return min((import_it() for _ in range(5)), key=lambda one: one["rounds"])


def test_importing_starts_nothing(imported):
    assert imported["threads"] == 1
    assert imported["tracers"] == "ProxyTracerProvider"
    assert imported["meters"] == "_ProxyMeterProvider"
    assert imported["handlers"] == 0
    assert imported["sigterm"]


def test_importing_is_quick(imported, record_property):
    record_property("rounds", imported["rounds"])
    assert imported["rounds"] < BUDGET


@pytest.mark.parametrize(
    "heavy",
    [
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "grpc",
        "httpx",
        "numpy",
        "sqlite3",
        "tqdm",
        "typer",
        "rich",
        "wordllama",
        "apsw",
        "uvloop",
        "pytest",
    ],
)
def test_what_is_heavy_is_imported_by_who_uses_it(imported, heavy):
    assert not [m for m in imported["modules"] if (m + ".").startswith(heavy + ".")]


def test_the_public_names_are_few_and_real():
    names = spanrun.__all__
    assert len(names) <= 28
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(spanrun, name) is not None


@pytest.mark.parametrize("name", sorted(spanrun.__all__))
def test_every_public_name_says_what_it_does(name):
    thing = getattr(spanrun, name)
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        return  # a union has no docstring of its own
    assert thing.__doc__
    first, *_ = thing.__doc__.splitlines()
    assert first.endswith((".", ":"))
    for method, member in inspect.getmembers(thing, inspect.isfunction):
        ours = (member.__module__ or "").startswith("spanrun")
        if ours and not method.startswith("_"):
            assert member.__doc__, f"{name}.{method}"
