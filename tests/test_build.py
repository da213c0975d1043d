"""A wheel has the Rust part where cargo builds it, else the reason why it has none."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hatch_build import ABI3, CRATE, UnavailableError, compiled, found_cargo
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename
from tests.installation import ROOT, site
from tests.waiting import until

try:
    CARGO = found_cargo()
except UnavailableError:
    CARGO = ""

needs_cargo = pytest.mark.skipif(
    not CARGO and "SPANRUN_REQUIRE_NATIVE" not in os.environ, reason="there is no cargo"
)
LOCK = tomllib.loads((ROOT / CRATE / "Cargo.lock").read_text("utf-8"))["package"]
LICENCES = {"Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "Unicode-3.0"}
JOBS = """\
import spanrun

async def main():
    async with spanrun.Runner("double") as runner:
        async def double(item):
            return 2 * item
        print(await runner.map(double, range(3)))

spanrun.run(main())
"""


def checkout(folder: Path) -> Path:
    """Copy what a wheel is made of, without what was built here."""
    built = shutil.ignore_patterns(
        "target", "__pycache__", "*.so", "*.pyd", "_core.missing.txt"
    )
    shutil.copytree(ROOT / "src", folder / "src", ignore=built)
    shutil.copytree(ROOT / "dashboards", folder / "dashboards", ignore=built)
    for name in (
        ".gitignore",
        "LICENSE",
        "README.md",
        "docs/reference/telemetry.md",
        "hatch_build.py",
        "pyproject.toml",
    ):
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, to)
    return folder


def plain(**more: str) -> dict[str, str]:
    """The variables of a build that nobody has set anything for."""
    ours = {"CARGO", "PYTHONPATH", "SPANRUN_REQUIRE_NATIVE"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    # The crates are compiled once for all these tests, and for the developer.
    return {**kept, "CARGO_TARGET_DIR": str(ROOT / CRATE / "target"), **more}


def without_cargo(folder: Path) -> dict[str, str]:
    """The same where cargo is in none of its places."""
    folder.mkdir(exist_ok=True)
    nowhere = str(folder)
    return plain(PATH=nowhere, HOME=nowhere, USERPROFILE=nowhere, CARGO_HOME=nowhere)


def hatchling(
    tree: Path, env: Mapping[str, str], target: str = "wheel"
) -> tuple[int, str]:
    """Build, as pip does; return the exit code and what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", tree / "dist"],
        cwd=tree,
        env=env,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def only_wheel(tree: Path) -> Path:
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


def reason_in(wheel: Path) -> str:
    """The reason that a wheel in Python alone gives, after a look at the rest of it."""
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as held:
        assert not [name for name in held.namelist() if name.endswith((".so", ".pyd"))]
        return held.read("spanrun/_core.missing.txt").decode()


def program(path: Path, text: str) -> str:
    """Write a program that stands for cargo."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def run_installed(wheel: Path, folder: Path, code: str) -> str:
    """Install the wheel into an environment of its own, and run code there."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    pip += ["--python", str(python), "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, env=plain())
    dependencies = site(folder / "dependencies", [])
    env = plain(PYTHONPATH=str(dependencies), SPANRUN_STORE="")
    return subprocess.check_output(
        [python, "-c", code], env=env, cwd=folder, text=True, stderr=subprocess.STDOUT
    )


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkout in which a wheel was built by cargo, and what was printed."""
    tree = checkout(tmp_path_factory.mktemp("native"))
    code, printed = hatchling(tree, plain())
    assert code == 0, printed
    return tree, printed


@needs_cargo
def test_the_wheel_fits_each_python_from_3_11_on(native):
    tree, printed = native
    wheel = only_wheel(tree)
    (tag,) = parse_wheel_filename(wheel.name)[3]
    assert tag in set(sys_tags())
    if ABI3:
        assert (tag.interpreter, tag.abi) == ("cp311", "abi3")
    assert f"compiling spanrun's Rust part, {len(LOCK)} crates" in printed
    with zipfile.ZipFile(wheel) as held:
        about = held.read(
            f"{wheel.name.split('-py')[0].split('-cp')[0]}.dist-info/WHEEL"
        )
    assert f"Root-Is-Purelib: false\nTag: {tag}\n" in about.decode()


@needs_cargo
def test_the_wheel_holds_the_module_its_types_and_the_page_but_no_sources(native):
    with zipfile.ZipFile(only_wheel(native[0])) as held:
        names = held.namelist()
    (module,) = [name for name in names if name.endswith((".so", ".pyd"))]
    assert re.match(r"spanrun/_core\.", module)
    assert "spanrun/_core.pyi" in names
    assert "spanrun/_core.missing.txt" not in names
    assert not [name for name in names if "/rust/" in name]
    for name in ("page.js", "page.css", "page.licences.txt"):
        assert f"spanrun/view/{name}" in names


@needs_cargo
def test_the_wheel_is_installed_and_used(native, tmp_path):
    code = f"import spanrun._core as core\nprint(core.__file__)\n{JOBS}"
    printed = run_installed(only_wheel(native[0]), tmp_path / "venv", code)
    file, values = printed.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert values == "[0, 2, 4]"


@needs_cargo
@pytest.mark.skipif(not ABI3, reason="its module is for this Python alone")
@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_other_pythons_load_the_same_module(native, version):
    python = shutil.which(f"python{version}") or "false"
    env = plain(PYTHONPATH=str(native[0] / "src/spanrun"), PYENV_VERSION=version)
    if subprocess.run([python, "-c", ""], env=env, check=False).returncode:
        pytest.skip(f"there is no Python {version}")
    subprocess.run([python, "-c", "import _core"], env=env, check=True)


@needs_cargo
@pytest.mark.parametrize("first", ["import _core", ""])
def test_a_sub_interpreter_is_refused_by_an_import_error(native, first):
    folder = str(native[0] / "src/spanrun")
    inner = f"""if True:
        import sys
        sys.path.insert(0, {folder!r})
        try:
            import _core
        except ImportError:
            print("refused", flush=True)
    """
    outer = f"""if True:
        try:
            import _interpreters as interpreters
        except ModuleNotFoundError:
            import _xxsubinterpreters as interpreters
        {first}
        interpreters.run_string(interpreters.create(), {inner!r})
    """
    env = plain(PYTHONPATH=folder)
    printed = subprocess.check_output([sys.executable, "-c", outer], env=env)
    assert printed == b"refused\n"


@needs_cargo
def test_sources_that_do_not_compile_are_the_reason(tmp_path):
    tree = checkout(tmp_path / "tree")
    with (tree / CRATE / "src/lib.rs").open("a", encoding="utf-8") as file:
        file.write("fn broken() -> u8 { true }\n")
    assert hatchling(tree, plain())[0] == 0
    assert "cargo build failed: mismatched types" in reason_in(only_wheel(tree))


@needs_cargo
def test_without_the_crates_and_offline_it_is_python_alone(tmp_path):
    tree = checkout(tmp_path / "tree")
    env = plain(
        CARGO=CARGO, CARGO_NET_OFFLINE="true", CARGO_HOME=str(tmp_path / "empty")
    )
    assert hatchling(tree, env)[0] == 0
    assert reason_in(only_wheel(tree)).startswith(
        "cargo fetch failed: no matching pack"
    )


@needs_cargo
def test_a_download_that_hangs_is_given_up(tmp_path, monkeypatch):
    tree = checkout(tmp_path / "tree")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes all, says nothing
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("CARGO", CARGO)
        monkeypatch.setenv("CARGO_HTTP_PROXY", proxy)
        monkeypatch.setenv("CARGO_HOME", str(tmp_path / "empty"))
        with pytest.raises(UnavailableError, match="printed nothing for 2 s"):
            compiled(tree, fetch_silence=2)


def test_without_cargo_the_wheel_is_python_alone_and_works(tmp_path):
    tree = checkout(tmp_path / "tree")
    stale = tree / "src/spanrun/_core.abi3.so"
    stale.write_bytes(b"of other sources")
    code, printed = hatchling(tree, without_cargo(tmp_path / "nowhere"))
    assert code == 0
    reason = "cargo (Rust) was not found: see https://rustup.rs"
    assert f"spanrun is installed without Rust: {reason}" in printed
    wheel = only_wheel(tree)
    assert reason_in(wheel) == f"{reason}\n"
    assert not stale.exists()
    assert run_installed(wheel, tmp_path / "venv", JOBS) == "[0, 2, 4]\n"


def test_an_editable_installation_keeps_the_reason_in_the_checkout(tmp_path):
    tree = checkout(tmp_path / "tree")
    hatchling(tree, without_cargo(tmp_path / "nowhere"), "wheel:editable")
    assert (tree / "src/spanrun/_core.missing.txt").read_text("utf-8")
    with zipfile.ZipFile(only_wheel(tree)) as held:
        assert not [name for name in held.namelist() if "_core" in name]


def test_where_it_is_required_the_build_fails(tmp_path):
    tree = checkout(tmp_path / "tree")
    env = without_cargo(tmp_path / "nowhere") | {"SPANRUN_REQUIRE_NATIVE": "1"}
    code, printed = hatchling(tree, env)
    assert code
    assert "cargo (Rust) was not found" in printed
    assert not list(tree.glob("dist/*.whl"))


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are shell scripts")
class TestFakeCargo:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        return checkout(tmp_path / "tree")

    def test_one_that_is_too_old_is_named(self, tree, tmp_path):
        old = program(tmp_path / "cargo", "echo 'cargo 1.60.0 (d1fd9fe 2022-03-01)'")
        assert hatchling(tree, plain(CARGO=old))[0] == 0
        wanted = "cargo 1.60 is too old: 1.85 is needed\n"
        assert reason_in(only_wheel(tree)) == wanted

    def test_one_that_fails_is_quoted(self, tree, tmp_path):
        broken = program(tmp_path / "cargo", "echo 'error: no toolchain'; exit 1")
        assert hatchling(tree, plain(CARGO=broken))[0] == 0
        reason = reason_in(only_wheel(tree))
        assert reason == "cargo --version failed: no toolchain\n"

    def test_one_that_is_silent_is_ended_with_its_children(
        self, tree, tmp_path, monkeypatch
    ):
        silent = program(tmp_path / "cargo", "sleep 100000 & wait")
        monkeypatch.setenv("CARGO", silent)
        before = threading.active_count()
        with pytest.raises(UnavailableError, match=r"printed nothing for 0\.2 s"):
            compiled(tree, fetch_silence=0.2)
        # Who reads what it prints comes to the end when all that could print is gone.
        until(lambda: threading.active_count() == before)

    def test_a_compiler_may_be_silent_for_longer(self, tree, tmp_path, monkeypatch):
        steps = 'case "$1" in --version) echo "cargo 1.99.0";; build) sleep 1.5;; esac'
        monkeypatch.setenv("CARGO", program(tmp_path / "cargo", steps))
        with pytest.raises(UnavailableError, match="cargo built no library"):
            compiled(tree, fetch_silence=60, compile_silence=120)

    def test_it_is_looked_for_by_its_variables_then_on_the_path(
        self, tmp_path, monkeypatch
    ):
        places = {
            name: tmp_path / name / folder / "cargo"
            for name, folder in {
                "PATH": "",
                "CARGO_HOME": "bin",
                "HOME": ".cargo/bin",
            }.items()
        }
        for name, path in places.items():
            path.parent.mkdir(parents=True)
            program(path, "")
            monkeypatch.setenv(name, str(tmp_path / name))
        monkeypatch.setenv("CARGO", program(tmp_path / "named", ""))
        found = [found_cargo()]
        monkeypatch.delenv("CARGO")
        for path in places.values():
            found.append(found_cargo())
            path.unlink()
        assert found == [str(tmp_path / "named"), *map(str, places.values())]
        with pytest.raises(
            UnavailableError, match=r"was not found: see https://rustup"
        ):
            found_cargo()
        monkeypatch.setenv("CARGO", "/nowhere/cargo")
        with pytest.raises(
            UnavailableError, match="CARGO=/nowhere/cargo is no program"
        ):
            found_cargo()


def test_the_source_distribution_holds_the_sources_and_their_lock(tmp_path):
    tree = checkout(tmp_path / "tree")
    (tree / CRATE / "target").mkdir()
    (tree / CRATE / "target/left.so").touch()
    assert hatchling(tree, without_cargo(tmp_path / "nowhere"), "sdist")[0] == 0
    (made,) = (tree / "dist").glob("*.tar.gz")
    shutil.unpack_archive(made, tmp_path / "sdist")
    (top,) = (tmp_path / "sdist").iterdir()
    held = {
        path.relative_to(top / CRATE).as_posix() for path in (top / CRATE).rglob("*")
    }
    assert {"Cargo.toml", "Cargo.lock", "src/lib.rs"} <= held
    assert not [name for name in held if name.startswith("target")]


def test_each_crate_is_from_crates_io_with_its_hash():
    for crate in LOCK:
        if crate["name"] != "spanrun-core":
            assert crate["source"] == (
                "registry+https://github.com/rust-lang/crates.io-index"
            )
            assert re.fullmatch("[0-9a-f]{64}", crate["checksum"])


@needs_cargo
def test_each_crate_may_be_used_under_a_permissive_licence():
    command = [CARGO, "metadata", "--format-version=1", "--locked", "--offline"]
    done = subprocess.check_output(command, cwd=ROOT / CRATE)
    for crate in json.loads(done)["packages"]:
        terms = re.split(r" AND ", crate["license"].replace("/", " OR "))
        for term in terms:
            offered = set(re.split(r" OR ", term.strip("()")))
            assert offered & LICENCES, f"{crate['name']}: {crate['license']}"


@pytest.mark.skipif(
    "SPANRUN_REQUIRE_NATIVE" not in os.environ, reason="it needn't be there"
)
def test_it_is_built_where_it_is_required():
    __import__("spanrun._core")
