"""The tutorial as its reader goes through it: one file that grows, in a fresh folder.

The snippets' own test runs the blocks of a page in one process. A reader adds each
block to a file and runs that from its beginning, in a folder where the commands of the
steps before have left something.
"""

import re
import subprocess
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, ROOT, Block, Page, matches, parse, read
from tests.docs.run_page import OTLP, sink
from tests.docs.test_snippets import missing_backend, needs
from tests.installation import commands, environment, named, site
from tests.programs import plain_environ

TUTORIALS = [read(path) for path in sorted((DOCS / "tutorial").glob("*.md"))]


class Reader:
    """Goes through a page in ``folder``, with the extras that the page names."""

    def __init__(self, page: Page, folder: Path, otlp: str) -> None:
        (self.file,) = set(re.findall(r"a\sfile `(\w+\.py)`", page.text))
        self.work = folder / "work"
        self.work.mkdir()
        extras = named(page.text)
        self.programs = commands(folder / "bin", extras)
        modules = site(folder / "site", extras)
        self.environ = environment(plain_environ(), modules, self.programs, ROOT)
        self.otlp = otlp
        self.blocks: list[Block] = []

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", command.replace(OTLP, self.otlp)],
            cwd=self.work,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def read(self, block: Block) -> None:
        """Do what a block asks for, and look at what comes out."""
        if block.language == "sh":
            for line in block.code.splitlines():
                self.command(line)
        elif block.language == "python":
            self.blocks.append(block)
            code = "".join(each.code for each in self.blocks)
            (self.work / self.file).write_text(code, encoding="utf-8")
            self.compare(self.run(f"python {self.file}"), block)

    def command(self, line: str) -> None:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environ[name] = value.replace(OTLP, self.otlp)
        elif line == f".venv/bin/python {self.file}":
            self.compare(self.run(f"python {self.file}"), self.blocks[-1])
        elif line == "make demo":
            self.run("spanrun demo --no-progress")
        else:
            assert line == "make backends ARGS=jaeger", f"how is it done: {line}?"

    def compare(self, got: str, last: Block) -> None:
        shown = [block.output for block in self.blocks if block.output]
        wanted = "".join(output.code for output in shown)
        measured = any("measured" in output.notes for output in shown)
        assert matches(wanted, got, measured=measured), (
            f"line {last.line}: {self.file} prints\n{got}\nand not\n{wanted}"
        )


def go_through(page: Page, folder: Path) -> None:
    missing = missing_backend(page.of("python"))
    with sink() as (otlp, _):
        reader = Reader(page, folder, otlp)
        for block in page.blocks:
            if not (missing and needs(block)):
                reader.read(block)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_a_reader_gets_what_the_tutorial_shows(page: Page, tmp_path: Path) -> None:
    go_through(page, tmp_path)


SETUP = "# Page\n\nPut this into a file `first.py`. `.[cli,ingest]`\n\n"
STORE = """```python
import asyncio

import spanrun as sr


async def main() -> None:
    async with sr.Runner("naps") as runner:
        await runner.call(asyncio.sleep, 0)


sr.configure()
sr.run(main())
sr.shutdown()
```

```python
from spanrun import recordings

with recordings.open(".spanrun") as recording:
    print(len(recording.sessions()))
```

```text
1
```
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (STORE, r"prints\s*2"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "and not"),
        ("```sh\nmake tea\n```\n", "how is it done"),
    ],
)
def test_a_tutorial_that_a_reader_cannot_follow_is_found(
    text: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=why):
        go_through(parse(ROOT / "page.md", SETUP + text), tmp_path)
