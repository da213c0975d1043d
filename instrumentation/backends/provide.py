"""Provide the real backends of the tests, each once, in the user's cache folder.

    python instrumentation/backends/provide.py [NAME ...]  # make what is missing
    python instrumentation/backends/provide.py --check     # only tell what is there
    python instrumentation/backends/provide.py --json      # only: program -> path

Progress goes to standard error, the final table or the JSON to standard output.

Exit codes: 0 all there; 1 one couldn't be made, or isn't there (--check, --json);
2 wrong usage; 69 a tool is missing (the other backends are provided); 130 stopped.
"""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if not __package__:  # run as a script: import it all as part of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from instrumentation.backends import cache, inventory, manifest, recipes
from instrumentation.backends.bench import Bench, Progress, StepError, StoppedError
from instrumentation.backends.inventory import Entry
from instrumentation.backends.manifest import Backend

Make = Callable[[Backend, Bench], None]

_FAILED, _TOOL_MISSING, _STOPPED = 1, 69, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    backends = manifest.load()
    parser = _parser(backends)
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in backends:
            parser.error(
                f"unknown backend {name!r}: name some of {', '.join(backends)}"
            )
    try:
        entries = inventory.take(options.names, backends)
        if options.json:
            _print_json(entries)
        elif options.check:
            _print_table(entries)
        else:
            return provide(entries)
        return _FAILED if any(entry.fault for entry in entries) else 0
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return _STOPPED


def provide(
    entries: Sequence[Entry],
    *,
    make: Make = recipes.make,
    progress: Progress | None = None,
) -> int:
    """Make the backends which aren't there, two at a time; returns the exit code."""
    progress = progress or Progress()
    todo = [entry for entry in entries if entry.fault and not entry.needs_tool]

    def one(entry: Entry) -> bool:
        return _one(entry, make, progress)

    # Two at a time: one downloads while the other one compiles.
    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            failed = [*pool.map(one, todo)]
        except KeyboardInterrupt:
            progress.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    _print_table([_again(entry) for entry in entries])
    if any(failed):
        return _FAILED
    return _TOOL_MISSING if any(entry.needs_tool for entry in entries) else 0


def _one(entry: Entry, make: Make, progress: Progress) -> bool:
    """Make one backend unless another process just did; True when it has failed."""
    backend, place = entry.backend, entry.place
    assert place is not None  # noqa: S101 (narrows the type: its tools are there)
    fingerprint = backend.fingerprint
    told = False

    def wait(seconds: float) -> None:
        nonlocal told
        if not told:
            progress.say(backend.name, "waiting: another process is making it")
        told = True
        if progress.stopped.wait(seconds):
            raise StoppedError

    try:
        with cache.locked(place, wait):
            fault = cache.fault(place, fingerprint)
            if fault is None:
                return False
            progress.say(backend.name, f"{backend.version}: {fault}, making it")
            log = place.parent / "logs" / f"{place.name}.log"
            with cache.replacing(place, fingerprint) as out:
                make(backend, Bench(backend.name, out, log, progress))
            progress.say(backend.name, f"ready, {_megabytes(place)}")
    except StoppedError:
        return True
    except (StepError, OSError, subprocess.SubprocessError) as error:
        progress.say(backend.name, f"FAILED: {error}")
        return True
    return False


def _again(entry: Entry) -> Entry:
    base = entry.place.parent if entry.place else None
    return inventory.look(entry.backend, base)


def _print_json(entries: Sequence[Entry]) -> None:
    paths = {
        name: str(path)
        for entry in entries
        if entry.fault is None
        for name, path in entry.paths.items()
    }
    print(json.dumps(paths, indent=2))


def _print_table(entries: Sequence[Entry]) -> None:
    """Print where each backend is; after it a line for each tool to install."""
    for entry in entries:
        size, where = "", f"MISSING: {entry.fault}"
        if entry.needs_tool:
            where = f"MISSING: needs {entry.needs_tool}"
        elif entry.place is not None and entry.fault is None:
            size, where = _megabytes(entry.place), str(entry.place)
        name, version = entry.backend.name, entry.backend.version
        print(f"{name:<11}{version:<9}{size:>7}  {where}", flush=True)
    for fault in dict.fromkeys(entry.fault for entry in entries if entry.needs_tool):
        print(fault, file=sys.stderr)


def _megabytes(place: Path) -> str:
    return f"{cache.size(place) / 1e6:.0f} MB"


def _parser(names: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provide.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    which = f"some of {', '.join(names)} (default: all)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=which)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only tell what is there")
    only.add_argument("--json", action="store_true", help="only print the paths")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
