"""How each kind of backend is made: from pinned packages to a folder of programs."""

import json
import os
import subprocess
from pathlib import Path
from typing import cast

from instrumentation.backends.bench import Bench
from instrumentation.backends.cache import sha256
from instrumentation.backends.manifest import HERE, Backend

# No debug symbols, no paths of this machine in the programs.
_LEAN = ("-v", "-trimpath", "-ldflags", "-s -w")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def make(backend: Backend, bench: Bench) -> None:
    """Make the backend in `bench.out` and see that its programs run.

    Raises:
        StepError: a step has failed.
        StoppedError: the run was asked to stop.
    """
    match backend.recipe:
        case "go_install":
            _go_install(backend, bench)
        case "go_module":
            _go_module(backend, bench)
        case "go_files":
            _go_files(backend, bench)
        case "otelcol":
            _otelcol(backend, bench)
        case "maven":
            _maven(backend, bench)
        case "npm":
            _npm(backend, bench)
    for program in backend.programs:
        argv = [str(bench.out / program), *backend.check]
        bench.run(f"trying {program}", argv)


def jar_lock(text: str) -> dict[str, str]:
    """Read a lock in sha256sum's format: the hash by the jar's name."""
    lines = [line.split() for line in text.splitlines() if line[:1] not in {"", "#"}]
    return {name: digest for digest, name in lines}


def jar_faults(folder: Path, lock: dict[str, str]) -> list[str]:
    """Compare a folder of jars with the lock; one text for each difference."""
    there = {path.name: sha256(path) for path in folder.glob("*.jar")}
    faults = [f"{name} is missing" for name in lock.keys() - there.keys()]
    faults += [f"{name} isn't in the lock" for name in there.keys() - lock.keys()]
    faults += [
        f"{name} has the sha256 {there[name]}, not {lock[name]}"
        for name in lock.keys() & there.keys()
        if lock[name] != there[name]
    ]
    return sorted(faults)


def _go_env(bench: Bench) -> dict[str, str]:
    return {
        "CGO_ENABLED": "0",  # the same program whether or not a C compiler is there
        "GO111MODULE": "on",
        "GOARCH": "",
        "GOBIN": str(bench.out),
        "GOFLAGS": "-buildvcs=false",
        "GOOS": "",
        "GOTMPDIR": str(bench.tmp),
        "GOWORK": "off",
    }


def _go_install(backend: Backend, bench: Bench) -> None:
    packages = [f"{path}@v{backend.version}" for path in backend.programs.values()]
    names = " and ".join(backend.programs)
    argv = ["go", "install", *_LEAN, *packages]
    bench.run(f"downloading modules, building {names}", argv, env=_go_env(bench))
    for program, package in backend.programs.items():
        (bench.out / Path(package).name).rename(bench.out / program)


def _go_module(backend: Backend, bench: Bench) -> None:
    argv = ["go", "mod", "download", "-json", f"{backend.module}@v{backend.version}"]
    env = _go_env(bench)
    bench.run("downloading its source", argv, env=env)
    # The same again, from the module cache: now for where it is.
    told = subprocess.run(
        argv, env={**os.environ, **env}, cwd=bench.tmp, check=True, capture_output=True
    )
    source = Path(cast("dict[str, str]", json.loads(told.stdout))["Dir"])
    for program, package in backend.programs.items():
        argv = ["go", "build", *_LEAN, "-o", str(bench.out / program), package]
        what = f"downloading modules, building {program}"
        bench.run(what, argv, cwd=source, env=env)


def _go_files(backend: Backend, bench: Bench) -> None:
    source = bench.tmp / "source"
    source.mkdir()
    for name in backend.files:
        path = HERE / name
        (source / path.name).write_bytes(path.read_bytes())
    for program, package in backend.programs.items():
        argv = ["go", "build", *_LEAN, "-o", str(bench.out / program), package]
        what = f"downloading modules, building {program}"
        bench.run(what, argv, cwd=source, env=_go_env(bench))


def _otelcol(backend: Backend, bench: Bench) -> None:
    version = f"v{backend.version}"
    env = {**_go_env(bench), "GOBIN": str(bench.tmp)}
    argv = ["go", "install", *_LEAN, f"{backend.module}@{version}"]
    bench.run("building its builder", argv, env=env)
    (program, builder), *_ = backend.programs.items()
    generated = bench.tmp / "generated"
    config = bench.tmp / "builder.yaml"  # JSON is YAML
    told: dict[str, object] = {
        kind: [{"gomod": f"{module} {version}"} for module in modules]
        for kind, modules in backend.components.items()
    }
    told["dist"] = {
        "name": program,
        "version": backend.version,
        "output_path": str(generated),
    }
    config.write_text(json.dumps(told, indent=1), encoding="utf-8")
    argv = [str(bench.tmp / builder), f"--config={config}"]
    bench.run("downloading its components, building", argv, env=env)
    (generated / program).rename(bench.out / program)


def _maven(backend: Backend, bench: Bench) -> None:
    # Maven works on copies: it would write beside the originals.
    for name in backend.files:
        source = HERE / name
        (bench.tmp / source.name).write_bytes(source.read_bytes())
    lib = bench.out / "lib"
    pinned = [f"-D{backend.name}.version={backend.version}", f"-DoutputDirectory={lib}"]
    argv = ["mvn", "-B", "-Dstyle.color=never", *pinned, _COPY]
    bench.run("downloading its jars", argv)
    lock = bench.tmp / "jars.lock"
    faults = jar_faults(lib, jar_lock(lock.read_text(encoding="utf-8")))
    if faults:
        raise bench.failed("\n".join(["its jars aren't those of jars.lock:", *faults]))
    launch = ["javac", "-cp", f"{lib}/*", "-d", str(bench.out / "classes")]
    bench.run("compiling its launcher", [*launch, "Launch.java"])


def _npm(backend: Backend, bench: Bench) -> None:
    """Install what the lock names, by its hashes, and unpack the browser beside it."""
    for name in backend.files:
        source = HERE / name
        (bench.out / source.name).write_bytes(source.read_bytes())
    argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    bench.run("downloading packages", argv, cwd=bench.out)
    (package,) = backend.programs.values()
    unpack = f"(await import({json.dumps(package)})).default.executablePath()"
    argv = ["node", "--input-type=module", "-e", f"await {unpack}"]
    env = {"TMPDIR": str(bench.out)}
    bench.run("unpacking the browser", argv, cwd=bench.out, env=env)
