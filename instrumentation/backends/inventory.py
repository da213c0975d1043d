"""Which of the manifest's backends are there, and where each program is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from instrumentation.backends import cache, manifest
from instrumentation.backends.manifest import Backend
from instrumentation.backends.toolchain import MissingToolError, toolchain


class BackendMissingError(Exception):
    """A backend isn't provided; the message says why and how to provide it."""


@dataclass(frozen=True)
class Entry:
    """A backend and where it stands: usable when `fault` is None.

    Without its tool it has no `place`, for the toolchain is part of the name.
    """

    backend: Backend
    place: Path | None
    fault: str | None
    needs_tool: str = ""

    @property
    def paths(self) -> dict[str, Path]:
        """Each program's path; for a backend without programs its folder."""
        if self.place is None:
            return {}
        programs = {name: self.place / name for name in self.backend.programs}
        return programs or {self.backend.name: self.place}


def look(backend: Backend, base: Path | None = None) -> Entry:
    """See whether one backend is there and intact."""
    try:
        place = cache.folder(backend, toolchain(backend), base)
    except MissingToolError as missing:
        return Entry(backend, None, str(missing), missing.tool)
    return Entry(backend, place, cache.fault(place, backend.fingerprint))


def take(
    names: Iterable[str] = (),
    backends: Mapping[str, Backend] | None = None,
    base: Path | None = None,
) -> list[Entry]:
    """See where the named backends stand; all of them when none is named."""
    backends = manifest.load() if backends is None else backends
    return [look(backends[name], base) for name in names or backends]


def why_missing(name: str) -> str | None:
    """Tell why a backend can't be started and what to do, or None when it can.

    It is made to be a test's reason for a skip.
    """
    entry = look(manifest.load()[name])
    if entry.fault is None:
        return None
    where = f"{entry.place}: " if entry.place else ""
    return (
        f"{name} {entry.backend.version} isn't provided ({where}{entry.fault}); "
        "run: make backends"
    )


def locate(name: str) -> Path:
    """Return a backend's folder.

    Raises:
        BackendMissingError: it isn't provided or not intact.
    """
    why = why_missing(name)
    if why is not None:
        raise BackendMissingError(why)
    place = look(manifest.load()[name]).place
    assert place is not None  # noqa: S101 (narrows the type: there is no fault)
    return place
