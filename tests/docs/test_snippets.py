"""Every snippet of the README and the docs runs, and gives what the page says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import ROOT, Block, Page, all_pages, matches, parse
from tests.docs.run_page import OTLP
from tests.installation import commands, environment, named, site
from tests.programs import plain_environ

RUNNER = Path(__file__).with_name("run_page.py")
FENCES = ("console", "jaeger", "promql", "python", "sh", "text", "toml")
PAGES = [page for page in all_pages() if not page.generated]


def runnable(page: Page) -> list[Block]:
    """Python; and the shell's `spanrun …` where the page shows what it prints."""
    return [
        block
        for block in page.of("python", "sh")
        if block.language == "python" or (block.output and only_spanrun(block))
    ]


def only_spanrun(block: Block) -> bool:
    return all(line.startswith("spanrun ") for line in block.code.splitlines())


def run(page: Page, blocks: list[Block], folder: Path) -> dict[str, Any]:
    source, target = folder / "blocks.json", folder / "results.json"
    work = folder / "work"
    work.mkdir(exist_ok=True)
    told = [{"language": b.language, "code": b.code, "line": b.line} for b in blocks]
    source.write_text(json.dumps({"name": page.name, "blocks": told}))
    extras = named(page.text)
    modules, programs = site(folder / "site", extras), commands(folder / "bin", extras)
    done = subprocess.run(
        [programs / "python", "-W", "error", RUNNER, source, target],
        cwd=work,
        env={
            **environment(plain_environ(), modules, programs, ROOT),
            "PYTHONUTF8": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    extras_named = f"{page.name} names the extras {sorted(extras)}"
    assert done.returncode == 0, f"{extras_named}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(target.read_text())


def check(page: Page, folder: Path) -> None:
    blocks = runnable(page)
    missing = missing_backend(blocks)
    if missing:
        blocks = [block for block in blocks if not needs(block)]
    told = run(page, blocks, folder)
    for block, result in zip(blocks, told["results"], strict=False):
        where = f"{page.name}:{block.line}"
        assert not result["error"], f"{where}\n{result['error']}"
        wanted = block.output.code if block.output else ""
        if block.output or block.language == "python":
            measured = bool(block.output and "measured" in block.output.notes)
            assert matches(wanted, result["output"], measured=measured), (
                f"{where} prints\n{result['output']}\nand not\n{wanted}"
            )
    assert len(told["results"]) == len(blocks)
    if any(OTLP in block.code for block in blocks):
        assert {"/v1/traces", "/v1/metrics"} <= told["received"].keys(), (
            f"{page.name}: nothing came to {OTLP}"
        )
    if missing:
        if os.environ.get("SPANRUN_REQUIRE_BACKENDS") == "1":
            pytest.fail(missing)
        pytest.skip(f"the rest ran: {missing}")


def needs(block: Block) -> list[str]:
    """The backends that a block names: ```python needs=jaeger."""
    return [n.removeprefix("needs=") for n in block.notes if n.startswith("needs=")]


def missing_backend(blocks: list[Block]) -> str | None:
    from instrumentation.backends import servers  # noqa: PLC0415 -- few pages need it

    names = [name for block in blocks for name in needs(block)]
    return next(filter(None, map(servers.why_missing, names)), None)


ELSE = """
import asyncio
import spanrun as sr
from spanrun.telemetry import setup

class Slow:
    def run_opened(self, run):
        setup.telemetry().store.run_opened(run)
    def job_ended(self, run, outcome):
        outcome.timings.duration = 60.0
        setup.telemetry().store.job_ended(run, outcome)
    def run_closed(self, run):
        setup.telemetry().store.run_closed(run)

async def main():
    async with sr.Runner("something else", observers=[Slow()]) as runner:
        await runner.map(asyncio.sleep, [0])

sr.configure(service_name="something-else")
sr.run(main())
sr.shutdown()
"""


@pytest.fixture(scope="session")
def used_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local store with what another program did: a reader's folder has one."""
    folder = tmp_path_factory.mktemp("used")
    subprocess.run([sys.executable, "-c", ELSE], cwd=folder, check=True)
    return folder / ".spanrun"


@pytest.mark.parametrize(
    "page", [p for p in PAGES if runnable(p)], ids=lambda page: page.name
)
def test_page(page: Page, tmp_path: Path, used_store: Path) -> None:
    shutil.copytree(used_store, tmp_path / "work" / ".spanrun")
    check(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fences_are_known(page: Page) -> None:
    for block in page.blocks:
        assert block.language in FENCES, (
            f"{page.name}:{block.line}: a fence of {block.info!r}"
        )


def page_of(text: str) -> Page:
    return parse(ROOT / "page.md", text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\nprint(1)\n```\n```text\n2\n```\n", "and not"),
        ("```python\nprint(1)\n```\n", "prints"),
        ("```python\nx = 1\n```\n```text\n1\n```\n", "prints"),
        (
            "```python\nimport spanrun.ingest as i\ni.LocalEmbedder()\n```",
            "the local model needs wordllama",
        ),
        (
            "`pip install 'spanrun[slo]'`\n```python\nimport pydantic\n```",
            "No module named 'pydantic'",
        ),
        (
            "`.[cli,ingest]`\n```sh\nspanrun search x\n```\n```text\n…\n```\n",
            "exit code 65",
        ),
        ("```sh\nspanrun --version\n```\n```text\n…\n```\n", "exit code 78"),
        (
            "```python\nimport socket\nsocket.create_connection(('192.0.2.1', 9))\n```",
            "may not reach",
        ),
        (f"```python\nplace = 'http://{OTLP}'\n```\n", "nothing came"),
    ],
)
def test_a_wrong_page_is_found(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as found:
        check(page_of(text), tmp_path)
    assert why in str(found.value)


def test_blocks_share_a_namespace_and_a_folder(tmp_path: Path) -> None:
    check(
        page_of(
            "```python\nx = 1\nopen('a', 'w').close()\n```\n"
            "```python\nimport os\nprint(x, os.listdir(), __name__)\n```\n"
            "```text\n1 ['a'] __main__\n```\n"
        ),
        tmp_path,
    )


@pytest.mark.parametrize(
    ("wanted", "got", "measured"),
    [
        ("a … c", "a b c", False),
        ("a\n…\nc", "a\nb\nb\nc", False),
        ("took 1.5 ms  ██─ x", "took 22 s █──── x", True),
    ],
)
def test_output_matches(wanted: str, got: str, *, measured: bool) -> None:
    assert matches(wanted, got, measured=measured)


@pytest.mark.parametrize(
    ("wanted", "got", "measured"),
    [
        ("a … c", "a b\nc", False),
        ("a", "a\nb", False),
        ("1.5 ms", "2 ms", False),
        ("took 1.5 ms", "spent 2 ms", True),
    ],
)
def test_output_differs(wanted: str, got: str, *, measured: bool) -> None:
    assert not matches(wanted, got, measured=measured)
