"""Compiles the Rust part while the package is built, also for an editable install.

Where that fails, as without cargo, the package is pure Python: everything works the
same, at a higher cost. The reason is printed, and is kept in the package as
``_core.missing.txt``. ``SPANRUN_REQUIRE_NATIVE=1`` makes it an error.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

CRATE: Final = "src/spanrun/rust"
REASON: Final = "src/spanrun/_core.missing.txt"
ABI3: Final = not sysconfig.get_config_var("Py_GIL_DISABLED")
"""Whether this Python loads modules of the stable ABI: the free-threaded doesn't."""
FETCH_SILENCE: Final = 10.0
"""Seconds without a line after which a download counts as hanging."""
COMPILE_SILENCE: Final = 600.0
"""The same for the compiler, which may need long for one crate on a slow machine."""


class UnavailableError(Exception):
    """The Rust part can't be compiled here, for the reason in the message."""


class NativeHook(BuildHookInterface[Any]):
    """Adds the compiled modules, or the reason for their absence, to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what came of it."""
        root = Path(self.root)
        added = [self._core(root, build_data)]
        added += old_c_part(self, root, build_data)
        if version != "editable":  # else they are used where they are
            build_data["artifacts"] += [
                "/" + each.relative_to(root).as_posix() for each in added
            ]

    def _core(self, root: Path, build_data: dict[str, Any]) -> Path:
        """Return the compiled module, or the file that says why there is none."""
        reason = root / REASON
        reason.unlink(missing_ok=True)
        self.app.display_info(announcement(root))
        try:
            built = compiled(root)
        except (UnavailableError, OSError) as error:
            if os.environ.get("SPANRUN_REQUIRE_NATIVE"):
                raise
            self.app.display_warning(f"spanrun is installed without Rust: {error}")
            for old in root.glob("src/spanrun/_core.*"):
                if old.suffix in {".so", ".pyd"}:  # it doesn't fit the sources
                    old.unlink()
            reason.write_text(f"{error}\n", encoding="utf-8")
            return reason
        build_data["pure_python"] = False
        build_data["tag"] = tag()
        return built


def announcement(root: Path) -> str:
    """Say what is compiled, for whoever sees this build's output."""
    lock = tomllib.loads((root / CRATE / "Cargo.lock").read_text("utf-8"))
    crates = len(lock["package"])
    return f"compiling spanrun's Rust part, {crates} crates: about 30 s"


def tag() -> str:
    """Return the tag of a wheel with the compiled module."""
    found = next(
        each
        for each in sys_tags()
        # These say with which C libraries a wheel works; what is built here may not.
        if not each.platform.startswith(("manylinux", "musllinux"))
    )
    python = "cp311-abi3" if ABI3 else f"{found.interpreter}-{found.abi}"
    return f"{python}-{found.platform}"


def compiled(
    root: Path,
    *,
    fetch_silence: float = FETCH_SILENCE,
    compile_silence: float = COMPILE_SILENCE,
) -> Path:
    """Compile the crate below ``root`` into the package there.

    The crates are those of ``Cargo.lock``, checked by its hashes.

    Raises:
        UnavailableError: without a cargo that is new enough, without the crates, or
            when cargo fails, or prints nothing for so many seconds.
    """
    if sys.implementation.name != "cpython":
        raise UnavailableError(f"it is for CPython, not for {sys.implementation.name}")
    crate = root / CRATE
    cargo = found_cargo()
    check_version(cargo, crate, fetch_silence)
    # Only this step uses the network. It is one of its own since the next one may be
    # silent for long without anything being wrong.
    run([cargo, "fetch", "--locked"], crate, fetch_silence)
    build = [cargo, "build", "--release", "--locked", "--offline", "--lib"]
    build += ["--message-format=json-render-diagnostics"]
    if not ABI3:
        build += ["--no-default-features"]
    module = artifact(run(build, crate, compile_silence))
    return installed(module, root / "src" / "spanrun")


def found_cargo() -> str:
    """Return the cargo that ``$CARGO`` names, or of the PATH, or of rustup's folder."""
    if named := os.environ.get("CARGO"):
        if found := shutil.which(named):
            return found
        raise UnavailableError(f"CARGO={named} is no program")
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    for path in (None, home / "bin", Path.home() / ".cargo" / "bin"):
        if found := shutil.which("cargo", path=path):
            return found
    raise UnavailableError("cargo (Rust) was not found: see https://rustup.rs")


def check_version(cargo: str, crate: Path, silence: float) -> None:
    """Refuse a cargo that is older than the crate's ``rust-version``."""
    manifest = tomllib.loads((crate / "Cargo.toml").read_text("utf-8"))
    needed = str(manifest["package"]["rust-version"])
    lines = run([cargo, "--version"], crate, silence)
    found = re.search(r"^cargo (\d+)\.(\d+)", "\n".join(lines), re.MULTILINE)
    if not found:
        raise UnavailableError(f"{cargo} --version doesn't tell its version")
    if tuple(map(int, found.groups())) < tuple(map(int, needed.split(".")[:2])):
        version = ".".join(found.groups())
        raise UnavailableError(f"cargo {version} is too old: {needed} is needed")


def run(command: list[str], folder: Path, silence: float) -> list[str]:
    """Return the lines that the command prints; end it if it prints none for long."""
    lines: list[str] = []
    with started(command, folder) as (process, printed):
        while True:
            try:
                line = printed.get(timeout=silence)
            except queue.Empty:
                said = f"{spelled(command)} printed nothing for {silence:g} s"
                raise UnavailableError(f"{said}{after(lines)}") from None
            if line is None:
                break
            lines.append(line)
            if not line.startswith("{"):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
        if process.wait():
            raise UnavailableError(f"{spelled(command)} failed: {error_in(lines)}")
    return lines


@contextmanager
def started(
    command: list[str], folder: Path
) -> Generator[tuple[subprocess.Popen[str], queue.SimpleQueue[str | None]]]:
    """Start the command; give its lines, then None; end it with all that it started."""
    process = subprocess.Popen(  # noqa: S603 -- the user's own cargo
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout  # noqa: S101 -- for the type
        with process.stdout as lines:
            for line in lines:
                printed.put(line.rstrip())
        printed.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield process, printed
    finally:
        if process.poll() is None:
            end(process)
            process.wait()
        reader.join(1.0)  # it ends with the last process that could print


def end(process: subprocess.Popen[str]) -> None:
    """End the process, and the compilers that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    """Return the variables for cargo and for PyO3's build script."""
    variables = {
        # One try more, instead of three: without a network the fallback is near.
        "CARGO_NET_RETRY": "1",
        **os.environ,
        "CARGO_TERM_COLOR": "never",
        "CARGO_TERM_PROGRESS_WHEN": "never",
        # Else the module is linked to the libpython of one version.
        "PYO3_BUILD_EXTENSION_MODULE": "1",
    }
    if ABI3:
        # The result is the same for each Python: none of them makes it compile again.
        variables.pop("PYO3_PYTHON", None)
        variables["PYO3_NO_PYTHON"] = "1"
    else:
        variables["PYO3_PYTHON"] = sys.executable
    return variables


def spelled(command: list[str]) -> str:
    """Return the command in short: ``cargo fetch``."""
    return f"cargo {command[1]}"


def after(lines: list[str]) -> str:
    """Return the last thing that was printed, as a part of a sentence."""
    return f', after "{lines[-1].strip()}"' if lines else ""


def error_in(lines: list[str]) -> str:
    """Return cargo's error with its innermost cause, on one line."""
    texts = [line.strip() for line in lines if line.strip() and line[0] != "{"]
    at = next((i for i, line in enumerate(texts) if line.startswith("error")), None)
    if at is None:
        return texts[-1] if texts else "it said nothing"
    causes = [i for i, line in enumerate(texts) if line == "Caused by:"]
    cause = texts[causes[-1] + 1 : causes[-1] + 2] if causes else []
    error = re.sub(r"^error(\[\w+\])?: ", "", texts[at])
    return ": ".join([error, *cause])


def artifact(lines: list[str]) -> Path:
    """Return the library that cargo built, by its own messages."""
    for message in (json.loads(line) for line in lines if line.startswith("{")):
        target = message.get("target", {})
        if target.get("name") == "_core" and "cdylib" in target.get("kind", ()):
            for name in message.get("filenames", ()):
                if Path(name).suffix in {".so", ".dylib", ".dll"}:
                    return Path(name)
    raise UnavailableError("cargo built no library")


def installed(module: Path, package: Path) -> Path:
    """Copy the library into the package, under the name by which Python finds it."""
    stable = ".pyd" if sys.platform == "win32" else ".abi3.so"
    suffix = stable if ABI3 else str(sysconfig.get_config_var("EXT_SUFFIX"))
    to = package / f"_core{suffix}"
    # A program that runs keeps the old file: it is replaced, not written over.
    with tempfile.TemporaryDirectory(dir=package) as scratch:
        shutil.copyfile(module, Path(scratch) / to.name).replace(to)
    return to


def old_c_part(hook: NativeHook, root: Path, build_data: dict[str, Any]) -> list[Path]:
    """Compile ``native/*.c`` as well, which is in use until its users have moved."""
    from setuptools import Distribution, Extension  # noqa: PLC0415 -- goes with it
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415 -- the same

    sources = [f"native/{each.name}" for each in sorted((root / "native").glob("*.c"))]
    if not sources:
        return []
    # With older C libraries, `pthread_atfork` is in a library of its own.
    options = (
        []
        if sys.platform == "win32"
        else [
            "-fvisibility=hidden",
            "-pthread",
            "-Werror=implicit-function-declaration",
        ]
    )
    extension = Extension(
        "spanrun._native",
        sources,
        extra_compile_args=options,
        extra_link_args=options,
    )
    project = Distribution(
        {"ext_modules": [extension], "package_dir": {"": "src"}, "packages": []}
    )
    command = build_ext(project)
    name = str(command.get_ext_filename("spanrun._native"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] -- setuptools' types
    built = root / "src" / name
    built.unlink(missing_ok=True)  # an old one doesn't fit, if this fails
    before = Path.cwd()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            os.chdir(root)
            command.build_temp = command.build_lib = scratch
            command.inplace = True
            command.ensure_finalized()
            command.run()
    except Exception as error:
        if os.environ.get("SPANRUN_REQUIRE_NATIVE"):
            raise
        hook.app.display_warning(f"spanrun is installed without C: {error}")
        return []
    finally:
        os.chdir(before)
    build_data["pure_python"] = False
    build_data["infer_tag"] = True  # unless there is a tag
    return [built]
