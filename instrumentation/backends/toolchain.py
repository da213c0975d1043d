"""Which tools there are, as go or node: their versions are part of a folder's name."""

import functools
import re
import shutil
import subprocess
from pathlib import Path

from instrumentation.backends.manifest import Backend

_INSTALL = {
    "go": "install Go 1.26 or newer and put it on the PATH",
    "java": "install a JDK 17 or newer and put it on the PATH",
    "javac": "install a whole JDK 17 or newer, not only its runtime",
    "node": "install Node.js 20 or newer and put it on the PATH",
    "npm": "install npm, which comes with Node.js, and put it on the PATH",
    "mvn": "install Maven 3.6 or newer and put it on the PATH",
}


class MissingToolError(Exception):
    """A tool isn't on this machine; the message says what to install."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        super().__init__(f"{tool} isn't on the PATH (or doesn't run): {_INSTALL[tool]}")


def toolchain(backend: Backend) -> str:
    """Return what the backend is made with, as in `go1.26.8` or `java17`.

    Raises:
        MissingToolError: one of the tools isn't there.
    """
    for tool in backend.tools:
        if shutil.which(tool) is None:
            raise MissingToolError(tool)
    return {"go": _go, "java": _java, "node": _node}[backend.tools[0]]()


@functools.cache
def _go() -> str:
    version = _told("go", "env", "GOVERSION").split()
    if not version:
        raise MissingToolError("go")
    return version[0]


@functools.cache
def _java() -> str:
    found = re.search(r'version "(\d+)', _told("java", "-version"))
    if found is None:
        raise MissingToolError("java")
    return f"java{found.group(1)}"


@functools.cache
def _node() -> str:
    found = re.match(r"v(\d+)", _told("node", "--version"))
    if found is None:
        raise MissingToolError("node")
    return f"node{found.group(1)}"


def _told(*argv: str) -> str:
    # In the root folder, so that no go.mod nearby chooses another toolchain.
    result = subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=Path("/"),
    )
    return result.stdout if result.returncode == 0 else ""
