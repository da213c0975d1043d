"""What the optional libraries are, and which extra of spanrun brings each of them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from spanrun.errors import ConfigurationError

EXTRAS: Final[Mapping[str, str]] = {
    "rich": "cli",
    "typer": "cli",
    "apsw": "ingest",
    "numpy": "ingest",
    "sqlite_vec": "ingest",
    "wordllama": "ingest",
    "prometheus_client": "prometheus",
    "ray": "ray",
    "pydantic_monty": "sandbox",
    "yaml": "slo",
    "aiosolr": "solr",
    "pydantic": "solr",
    "uvloop": "uvloop",
}
"""The modules that aren't in every installation, and the extra that has each."""


@contextmanager
def named_when_missing(user: str, wanted: str = "") -> Generator[None]:
    """Turn a failing import of an extra's module into an error that says what to do.

    Args:
        user: What needs the module, such as ``"SqliteStore"``.
        wanted: The module that is imported: what it needs itself is in its extra.

    Raises:
        ConfigurationError: It isn't installed, or it is and can't be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _extra(error.name) or _extra(wanted)
        if extra is None:  # no extra would bring it
            raise
        raise _missing(user, error.name, extra) from error
    except ImportError as error:
        if not wanted:
            raise
        raise ConfigurationError(
            f"{user} needs {wanted}, which is installed and can't be imported:"
            f" {error}: pip install --force-reinstall {wanted}"
        ) from error


def load(user: str, module: str) -> ModuleType:
    """Import ``module`` for ``user``, or raise as `named_when_missing` does."""
    with named_when_missing(user, module):
        return importlib.import_module(module)


def require(user: str, module: str) -> None:
    """Raise as `named_when_missing` does, without importing ``module``."""
    extra = EXTRAS[module]
    if importlib.util.find_spec(module) is None:
        raise _missing(user, module, extra)


def _extra(module: str | None) -> str | None:
    return EXTRAS.get((module or "").partition(".")[0])


def _missing(user: str, module: str | None, extra: str) -> ConfigurationError:
    return ConfigurationError(f"{user} needs {module}: pip install 'spanrun[{extra}]'")
