"""Write the dashboards to `dashboards/json`.

    python dashboards/build.py           # write what has changed
    python dashboards/build.py --check   # only tell what is out of date

Exit codes: 0 all up to date; 1 a file is out of date (--check); 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

if not __package__:  # run as a script: import it all as part of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from dashboards.board import dump
from dashboards.clients import clients
from dashboards.health import health
from dashboards.runs import runs
from dashboards.slo import slo
from dashboards.where import where

JSON: Final = Path(__file__).resolve().parent / "json"

BOARDS: Final = {
    "runs": runs,
    "where-the-time-goes": where,
    "clients": clients,
    "slo": slo,
    "telemetry-health": health,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the dashboards' JSON.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--out", type=Path, default=JSON, help="where they belong")
    options = parser.parse_args(argv)
    stale = dict(_stale(options.out))
    for path, text in stale.items():
        if options.check:
            sys.stderr.write(f"{path.name} is out of date: run `make generate`\n")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path.name}\n")
    return int(bool(stale) and options.check)


def _stale(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file whose text isn't what the code makes, with that text."""
    for name, make in BOARDS.items():
        path, text = folder / f"{name}.json", dump(make())
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield path, text


if __name__ == "__main__":
    sys.exit(main())
