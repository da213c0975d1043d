"""Compiles the part in C while the package is built, also for an editable install.

Where that fails, as without a compiler, the package is pure Python: all works the
same, at a higher cost. ``SPANRUN_REQUIRE_NATIVE=1`` makes it an error.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

MODULE = "spanrun._native"


class NativeHook(BuildHookInterface[Any]):
    """Adds the compiled module to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what came of it."""
        try:
            built = compiled(Path(self.root))
        except Exception as error:
            if os.environ.get("SPANRUN_REQUIRE_NATIVE"):
                raise
            self.app.display_warning(f"spanrun is installed without C: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            build_data["artifacts"].append(built.relative_to(self.root).as_posix())


def compiled(root: Path) -> Path:
    """Compile ``native/`` below ``root`` into the package there."""
    sources = [f"native/{each.name}" for each in sorted((root / "native").glob("*.c"))]
    # With older C libraries, `pthread_atfork` is in a library of its own.
    options = [] if sys.platform == "win32" else ["-fvisibility=hidden", "-pthread"]
    extension = Extension(
        MODULE, sources, extra_compile_args=options, extra_link_args=options
    )
    project = Distribution(
        {"ext_modules": [extension], "package_dir": {"": "src"}, "packages": []}
    )
    command = build_ext(project)
    name = str(command.get_ext_filename(MODULE))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] -- setuptools' types
    built = root / "src" / name
    built.unlink(missing_ok=True)  # an old one doesn't fit, if this fails
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(root)
        try:
            command.build_temp = command.build_lib = scratch
            command.inplace = True
            command.ensure_finalized()
            command.run()
        finally:
            os.chdir(before)
    return built
