"""What is installed with some extras of spanrun, and a folder that has no more."""

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: Mapping[str, list[str]] = PROJECT["optional-dependencies"]


@cache
def distributions(extras: frozenset[str]) -> frozenset[str]:
    """The distributions that ``pip install 'spanrun[extras]'`` brings, by name."""
    found: dict[str, set[str]] = {}
    todo = [Requirement(f"spanrun[{','.join(extras)}]")]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        new = wanted.extras - found[name] if name in found else {"", *wanted.extras}
        found.setdefault(name, set()).update(new)
        for line in _requires(name) if new else ():
            below = Requirement(line)
            marker = below.marker
            if not marker or any(marker.evaluate({"extra": extra}) for extra in new):
                todo.append(below)
    return frozenset(found)


def _requires(name: str) -> list[str]:
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:  # for another platform, or built in
        return []


def _installed(extras: Iterable[str]) -> Iterator[Distribution]:
    for name in sorted(distributions(frozenset(extras))):
        with suppress(PackageNotFoundError):
            yield distribution(name)


def site(folder: Path, extras: Iterable[str]) -> Path:
    """Make ``folder`` a place of modules with spanrun and these extras, and no more."""
    folder.mkdir()
    for found in _installed(extras):
        _link(found, folder)
    return folder


def _link(found: Distribution, folder: Path) -> None:
    """Link the distribution's packages, wherever it is installed.

    A package is linked as a whole: its compiled files are used, not made anew.
    """
    for path in found.files or ():
        if ".." in path.parts or "__pycache__" in path.parts:
            continue
        for depth in range(1, len(path.parts) + 1):
            part = Path(*path.parts[:depth])
            at, source = folder / part, Path(str(found.locate_file(part)))
            if at.is_symlink():
                break
            if not source.is_dir() or _is_its_own(source):
                at.symlink_to(source)
                break
            at.mkdir(exist_ok=True)  # a namespace, which several distributions share


def _is_its_own(source: Path) -> bool:
    return source.suffix == ".dist-info" or (source / "__init__.py").exists()


def commands(folder: Path, extras: Iterable[str]) -> Path:
    """Make ``folder`` a place of commands: ``spanrun``, ``python`` and the extras'."""
    folder.mkdir()
    for name, arguments in {"spanrun": "-m spanrun", "python": ""}.items():
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S {arguments} "$@"\n')
        command.chmod(0o755)
    for found in _installed(extras):
        for path in found.files or ():
            if path.parts[0] == ".." and path.parent.name == "bin":
                command = folder / path.name
                if not command.exists():
                    command.symlink_to(Path(str(found.locate_file(path))).resolve())
    return folder


def environment(
    base: Mapping[str, str], site: Path, commands: Path, *more: Path
) -> dict[str, str]:
    """The variables by which a process and those that it starts see ``site`` alone.

    ``more`` are folders with other modules.
    """
    places = [ROOT / "src", site, *more]
    return {
        **base,
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "PATH": os.pathsep.join([str(commands), base["PATH"]]),
    }


_NAMED = re.compile(r"(?:spanrun|\.)\[([a-z,]+)\]")


def named(text: str) -> frozenset[str]:
    """The extras that a text names, as ``pip install 'spanrun[ingest]'`` does."""
    found = {each for match in _NAMED.findall(text) for each in match.split(",")}
    return frozenset(EXTRAS if "all" in found else found)
