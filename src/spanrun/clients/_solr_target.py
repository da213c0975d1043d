"""Where a Solr collection is: a base URL, taken apart and made safe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from spanrun.errors import ConfigurationError
from spanrun.telemetry.redact import redact

_PREFIX: Final = "/solr"  # with a port and without a path, as aiosolr has it


@dataclass(frozen=True, slots=True)
class Target:
    """A collection's address.

    Attributes:
        url: Without secrets: what aiosolr is told.
        prefix: The path before the collection: ``/solr`` as a rule, or empty.
        collection: Its name, not escaped.
    """

    url: str
    prefix: str
    collection: str

    @classmethod
    def of(cls, base_url: str) -> Target:
        """The address in ``base_url``, which ends with the collection.

        Raises:
            ConfigurationError: It is no such URL. The text has none of its secrets.
        """
        if not isinstance(base_url, str) or not base_url.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"AsyncSolrClient(base_url={base_url!r}): must be a URL, such as "
                "http://localhost:8983/solr/docs"
            )
        try:
            url = urlsplit(base_url.strip())
            port = url.port
        except ValueError as why:
            raise _wrong(base_url, str(why)) from None
        if url.scheme not in ("http", "https") or not url.hostname:
            raise _wrong(base_url, "must be http://host… or https://host…")
        if url.query or url.fragment:
            raise _wrong(base_url, "must end with the collection's name")
        names = [unquote(part) for part in url.path.rstrip("/").split("/")]
        if not names[-1] or any(name in (".", "..") for name in names):
            raise _wrong(base_url, "must end with the collection's name")
        prefix = "".join(f"/{escaped(name)}" for name in names[1:-1])
        if port is not None:
            prefix = prefix or _PREFIX
        place = url.netloc.rpartition("@")[2].lower()
        path = f"{prefix}/{escaped(names[-1])}"
        return cls(f"{url.scheme}://{place}{path}", prefix, names[-1])


def escaped(name: str) -> str:
    """One part of a path, so that it stays one."""
    return quote(name, safe="")


def escaped_path(what: str, path: str) -> str:
    """Some parts of a path.

    Raises:
        ConfigurationError: It would lead elsewhere.
    """
    parts = path.strip("/").split("/")
    if any(unquote(part) in ("", ".", "..") for part in parts):
        raise ConfigurationError(f"{what}={path!r}: must be names between slashes")
    return "/".join(escaped(part) for part in parts)


def _wrong(base_url: str, why: str) -> ConfigurationError:
    shown = redact(base_url).partition("?")[0]
    return ConfigurationError(f"AsyncSolrClient(base_url={shown!r}): {why}")
