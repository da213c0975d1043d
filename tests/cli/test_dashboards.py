"""`spanrun dashboards export`: from the checkout, and from an installed wheel."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dashboards.build import JSON
from tests.cli.conftest import Cli
from tests.waiting import PATIENCE

from spanrun.cli.exits import Exit

ROOT = Path(__file__).parents[2]
SHIPPED = {path.name: path.read_text("utf-8") for path in JSON.glob("*.json")}


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_export_writes_the_five_and_tells_where(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    result = cli("dashboards", "export", str(folder))
    assert (result.code, result.err) == (0, "")
    assert files(folder) == SHIPPED
    assert len(SHIPPED) == 5
    assert result.out.split() == [str(folder / name) for name in sorted(SHIPPED)]


def test_json_is_one_object(cli: Cli, tmp_path: Path) -> None:
    result = cli("dashboards", "export", str(tmp_path), "--json")
    assert len(result.json["written"]) == 5


def test_a_second_export_replaces_only_its_own_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "runs.json").write_text("old")
    assert cli("dashboards", "export", str(tmp_path)).code == 0
    assert files(tmp_path) == SHIPPED | {"mine.json": "{}"}


def test_the_address_of_the_run_books_is_set_once_for_all(
    cli: Cli, tmp_path: Path
) -> None:
    wiki = "https://wiki.example.com/spanrun"
    assert (
        cli("dashboards", "export", str(tmp_path), "--runbooks", f"{wiki}/").code == 0
    )
    for text in files(tmp_path).values():
        (variable,) = (
            each
            for each in json.loads(text)["templating"]["list"]
            if each["name"] == "runbooks"
        )
        assert variable["query"] == wiki
        assert "localhost:8000" not in text


@pytest.mark.parametrize("address", ["docs/how-to", "ftp://wiki", "https://", ""])
def test_an_address_of_run_books_that_leads_nowhere_is_refused(
    cli: Cli, tmp_path: Path, address: str
) -> None:
    result = cli("dashboards", "export", str(tmp_path), "--runbooks", address)
    assert (result.code, files(tmp_path)) == (Exit.USAGE, {})
    assert "must be a whole URL" in result.err


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_is_no_folder(cli: Cli, tmp_path: Path, below: str) -> None:
    taken = tmp_path / "taken"
    taken.write_text("kept")
    result = cli("dashboards", "export", str(taken / below))
    assert result.code == Exit.DISK
    assert result.out == ""
    assert str(taken) in result.err
    assert "  Name a folder that you may write to" in result.err
    assert taken.read_text() == "kept"


def test_the_command_alone_shows_its_help(cli: Cli) -> None:
    result = cli("dashboards")
    assert "export" in result.out + result.err


@pytest.mark.slow
def test_an_installed_wheel_has_them(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-m", "spanrun", "dashboards", "export", "out", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert len(json.loads(done.stdout)["written"]) == 5
    assert files(tmp_path / "out") == SHIPPED
