"""Searches in Jaeger that a page tells its reader to make: a real Jaeger finds by them.

A `jaeger` block has the fields of Jaeger's search form. Jaeger compares tags for
equality, so there is no search by a key alone, or for more than a figure.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from instrumentation.backends import servers
from tests.docs.pages import ROOT, Block, Page, all_pages, parse
from tests.waiting import PATIENCE

from spanrun import semconv

FIELDS = ("Service", "Operation", "Tags", "Min Duration", "Max Duration")
UNITS = ("batch", "job", "attempt", "run")
SEARCHES = [
    pytest.param(block, id=f"{page.name}:{block.line}")
    for page in all_pages()
    for block in page.of("jaeger")
]

HAPPENS = """
import asyncio, sys, time
import spanrun as sr

attempts = {}

class Says:
    def run_opened(self, run):
        print(run.id)

    def run_closed(self, run): ...
    def job_ended(self, run, outcome): ...

async def work(item):
    attempts[item] = attempts.get(item, 0) + 1
    if item == "blocks":
        time.sleep(0.25)
    if item == "needs three" and attempts[item] < 3:
        raise ConnectionError
    if item == "is slow":
        await asyncio.sleep(0.3)
    if item == "fails":
        raise ValueError

async def main(name):
    retry = sr.Retry(on=ConnectionError, attempts=3, base=0)
    async with sr.Runner(name, limit=1, retry=retry, observers=[Says()]) as runner:
        await runner.map(asyncio.sleep, [0], trace="linked")
        items = ("is quick", "blocks", "needs three", "is slow", "fails")
        await runner.map(work, items, errors="collect", trace="linked")

_, service, name, endpoint = sys.argv
sr.configure(service_name=service, endpoint=endpoint)
sr.run(main(name))
sys.exit(not sr.shutdown() and "not all was delivered")
"""


def fields(block: Block) -> dict[str, str]:
    """The search form's fields, or an AssertionError where Jaeger has none such."""
    found: dict[str, str] = {}
    for line in block.code.splitlines():
        name, colon, value = line.partition(": ")
        assert name in FIELDS, f"Jaeger has no field {name!r}"
        assert colon, f"{name}: no value"
        found[name] = value.strip()
    assert "Service" in found, "Jaeger searches one service"
    unit, _, runner = found.get("Operation", "job x").partition(" ")
    assert unit in UNITS, f"no span is named {found.get('Operation')}"
    assert runner, f"Jaeger compares the whole name: {unit}"
    for name in ("Min Duration", "Max Duration"):
        value = found.get(name, "1s")
        assert re.fullmatch(r"[\d.]+(us|ms|s|m|h)", value), f"{name}: {value}"
    for tag in found.get("Tags", "").split():
        key, equals, value = tag.partition("=")
        assert equals, f"Jaeger finds no tag by its key alone: {key}"
        assert re.fullmatch(r"[\w.]+", value), (
            f"Jaeger finds what is equal alone: {tag}"
        )
        assert key in semconv.ATTRIBUTES, f"no span has {key}"
    return found


def query(form: dict[str, str]) -> dict[str, str]:
    """The form as Jaeger's own page sends it."""
    names = {"Min Duration": "minDuration", "Max Duration": "maxDuration"}
    sent = {names.get(name, name.lower()): value for name, value in form.items()}
    if "tags" in sent:
        pairs = (tag.split("=") for tag in sent["tags"].split())
        sent["tags"] = json.dumps(dict(pairs))
    return {**sent, "limit": "100"}


@pytest.fixture(scope="module")
def jaeger() -> Iterator[Any]:
    missing = servers.why_missing("jaeger")
    if missing and os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with servers.jaeger() as server:
        yield server


def found_by(form: dict[str, str], jaeger: Any) -> int:
    answer = httpx.get(f"{jaeger.url}/api/traces", params=query(form))
    return len(answer.raise_for_status().json()["data"])


@pytest.mark.parametrize("block", SEARCHES)
def test_a_search_has_what_jaeger_can_do(block: Block) -> None:
    assert fields(block)


@pytest.mark.parametrize("block", SEARCHES)
def test_jaeger_finds_by_it(block: Block, jaeger: Any) -> None:
    form = fields(block)
    service = f"{form['Service']}-{block.line}"
    runner = form.get("Operation", "job work").partition(" ")[2]
    done = subprocess.run(
        [sys.executable, "-c", HAPPENS, service, runner, jaeger.otlp_http],
        env={
            "OTEL_METRICS_EXPORTER": "none",
            "PYTHONPATH": str(ROOT),
            "SPANRUN_SLOW": "0.2",
        },
        check=True,
        timeout=PATIENCE,
        stdout=subprocess.PIPE,
        text=True,
    )
    every = {"Service": service, "Operation": f"job {runner}"}
    asked = {**form, "Service": service}
    if "Tags" in form:  # the run that the page speaks of is the one with all of it
        run = done.stdout.split()[-1]
        asked["Tags"] = re.sub(r"(run\.id=)\w+", rf"\g<1>{run}", form["Tags"])
    found = found_by(asked, jaeger)
    assert 0 < found < found_by(every, jaeger) == 6


_ASKS = re.compile(r"(?is)\bsearch\b.*\bJaeger\b|\bJaeger\b.*\bsearch\b")


def without_search(page: Page) -> list[str]:
    """Paragraphs that tell to search Jaeger, and don't show how."""
    parts = re.split(r"\n\n", page.text)
    return [
        part
        for part, after in zip(parts, [*parts[1:], ""], strict=True)
        if _ASKS.search(part)
        and not part.startswith("```")
        and not after.startswith("```jaeger\n")
    ]


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_a_page_shows_the_search_that_it_asks_for(page: Page) -> None:
    if not page.generated and page.path.name != "CONTRIBUTING.md":
        assert without_search(page) == []


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("Service: a\nTags: spanrun.job.time.backoff", "by its key alone"),
        ("Service: a\nTags: spanrun.job.time.busy>0.1", "by its key alone"),
        ("Service: a\nTags: spanrun.job.time.busy=>0.1", "equal alone"),
        ("Service: a\nTags: spanrun.job.busy=1", "no span has"),
        ("Service: a\nOperation: job", "whole name"),
        ("Service: a\nOperation: jobs a", "no span is named"),
        ("Service: a\nMin Duration: 0.1", "Min Duration"),
        ("Service: a\nBusy: 0.1", "no field"),
        ("Operation: job a", "one service"),
    ],
)
def test_a_search_that_jaeger_cannot_make_is_found(code: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        fields(Block("jaeger", code, 1))


def test_a_search_that_is_told_and_not_shown_is_found() -> None:
    told = "so a search in Jaeger for\n`spanrun.job.time.backoff` finds them.\n"
    assert without_search(parse(ROOT / "page.md", told))
    shown = f"{told}\n```jaeger\nService: a\n```\n"
    assert not without_search(parse(ROOT / "page.md", shown))
