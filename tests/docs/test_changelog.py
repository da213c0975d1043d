"""The changelog is made of the news fragments, which have legal names and kinds."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docs._reference import changelog
from tests.docs.pages import ROOT

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"][
    "towncrier"
]
KINDS = [each["directory"] for each in CONFIG["type"]]
FRAGMENTS = sorted((ROOT / CONFIG["directory"]).iterdir())
NAME = re.compile(rf"\d+(\.[a-z0-9-]+)?\.({'|'.join(KINDS)})(\.\d+)?\.md")


def amiss(fragment: Path) -> list[str]:
    text = fragment.read_text(encoding="utf-8")
    found: list[str] = []
    if not NAME.fullmatch(fragment.name):
        found.append(f"{fragment.name}: must be <issue>.<name>.<kind>.md, of {KINDS}")
    if text != f"{' '.join(text.split())}\n":
        found.append(f"{fragment.name}: must be one line")
    if not text.endswith(".\n"):
        found.append(f"{fragment.name}: must end as a sentence does")
    return found


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_has_a_legal_name_and_one_line(fragment: Path) -> None:
    assert amiss(fragment) == []
    text = fragment.read_text(encoding="utf-8").strip()
    assert f"- {text}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("16.pages.bug.md", "A thing works.\n"),
        ("16.md", "A thing works.\n"),
        ("pages.fix.md", "A thing works.\n"),
        ("16.pages.fix.txt", "A thing works.\n"),
        ("16.pages.fix.md", "A thing\nworks.\n"),
        ("16.pages.fix.md", "A thing works.\n\n"),
        ("16.pages.fix.md", "A thing works\n"),
        ("16.pages.fix.md", ""),
    ],
)
def test_a_fragment_that_is_wrong_is_found(
    name: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert amiss(path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with two fragments."""
    for name in ("pyproject.toml", CONFIG["template"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "newsfragments").mkdir()
    (tmp_path / "newsfragments" / "1.one.fix.md").write_text("One works.\n")
    (tmp_path / "newsfragments" / "2.two.feature.md").write_text("Two is there.\n")
    return tmp_path


def write(project: Path) -> str:
    text = changelog.render(project)
    (project / "CHANGELOG.md").write_text(text)
    return text


NEXT = """\
## 0.1.0 (unreleased)

### Features

- Two is there.

### Fixes

- One works.
"""


def test_what_is_to_come_stands_first_by_kind(project: Path) -> None:
    assert f"\n\n{NEXT}\n{changelog.RELEASED}" in write(project)
    assert changelog.render(project) == write(project)


def test_a_release_takes_the_fragments_and_stays(project: Path) -> None:
    write(project)
    release = "-m towncrier build --yes --version 0.1.0 --date 2026-12-24"
    subprocess.run(
        [sys.executable, *release.split()], cwd=project, check=True, capture_output=True
    )
    (project / "newsfragments" / "3.three.fix.md").write_text("Three works, too.\n")
    text = write(project)
    coming, released = text.split(changelog.RELEASED)
    assert "Three works, too." in coming
    assert "Two is there." not in coming
    assert released.strip() == NEXT.replace("unreleased", "2026-12-24").strip()
    assert [path.name for path in (project / "newsfragments").iterdir()] == [
        "3.three.fix.md"
    ]
