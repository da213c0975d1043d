"""The page is one file that loads nothing, and it is the one that `viewer/` makes."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from instrumentation.backends import inventory
from tests.view.conftest import packed
from tests.waiting import PATIENCE

from spanrun.view import page

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src/spanrun/view"
NAMES = ("page.js", "page.css", "page.licences.txt")


def test_the_page_is_one_file_that_loads_nothing(sizes: Path) -> None:
    html = page.html_of(packed(sizes))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    for name, tag in (("page.js", "script"), ("page.css", "style")):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert inline == (BUILT / name).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    assert not re.search(r"<(link|img|iframe|script src|base)\b", html)


def test_a_hostile_name_is_nowhere_in_the_file(sizes: Path) -> None:
    html = page.html_of(packed(sizes))
    assert html.count("</script>") == 2
    assert "alert(" not in html


def test_the_code_is_small_and_writes_no_markup() -> None:
    script = (BUILT / "page.js").read_text("utf-8")
    assert len(script) + (BUILT / "page.css").stat().st_size < 120_000
    assert "<!--" not in script
    assert "</script" not in script
    for source in (ROOT / "viewer/src").glob("*.js"):
        assert "innerHTML" not in source.read_text("utf-8"), source


def test_a_file_is_written_whole_or_not_at_all(sizes: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_text("before")
    size = page.write(packed(sizes, "size 1"), path)
    assert path.stat().st_size == size
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        page.write(packed(sizes, "size 1"), tmp_path / "folder")
    assert {each.name for each in tmp_path.iterdir()} == {"run.html", "folder"}


def test_the_built_page_is_that_of_its_source(tmp_path: Path) -> None:
    modules = ROOT / "viewer/node_modules"
    reason = None if modules.exists() else inventory.why_missing("browser")
    if reason is not None:
        pytest.skip(reason)
    if not modules.exists():
        modules = inventory.locate("browser") / "node_modules"
    for name in ("src", "build.mjs", "package.json"):
        source = ROOT / "viewer" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(modules)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        ["node", "build.mjs", str(out)], cwd=tmp_path, check=True, timeout=120
    )
    for name in NAMES:
        assert (out / name).read_bytes() == (BUILT / name).read_bytes(), (
            f"{name} isn't that of viewer/: run make viewer"
        )


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ("", "", ""),
        ("import { href } from './url.js';\n", "", "'href' is not defined"),
        ("import {", "import { share,", "'share' is imported but never used"),
        ("const asked = ", "const name = ", "'asked' is not defined"),
        ("'./server.js'", "'./url.js'", '"json" not found'),
    ],
)
def test_a_name_that_is_nowhere_is_found_before_a_browser_does(
    tmp_path: Path, there: str, instead: str, said: str
) -> None:
    if (reason := inventory.why_missing("browser")) is not None:
        pytest.skip(reason)
    for name in ("sessions.js", "live.js", "url.js", "server.js"):
        text = (ROOT / "viewer/src" / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace(there, instead, 1), "utf-8")
    lint = [sys.executable, str(ROOT / "instrumentation/lint_page.py"), str(tmp_path)]
    done = subprocess.run(
        lint, check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == bool(said), done.stderr
    assert said in done.stderr
