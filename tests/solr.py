"""One Solr for all tests of a session that ask for it: it takes seconds to start."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from instrumentation.backends import servers
from tests.backends.conftest import needs

DIMENSION = 256  # of the vectors in the test server's schema

_users = 0
_running = ExitStack()
_server: Any = None


@pytest.fixture(scope="session")
def solr_server() -> Iterator[Any]:
    """The server. Each folder has this fixture; who is last to end stops it."""
    global _users, _server  # noqa: PLW0603 -- the session's
    needs("solr")
    if not _users:
        _server = _running.enter_context(servers.solr())
    _users += 1
    try:
        yield _server
    finally:
        _users -= 1
        if not _users:
            _running.close()


@pytest.fixture
def solr_url(solr_server: Any) -> str:
    """The URL of the server's collection, which is empty."""
    answer = httpx.post(
        f"{solr_server.url}/update?commit=true",
        json={"delete": {"query": "*:*"}},
        trust_env=False,
        verify=False,
    )
    answer.raise_for_status()
    return str(solr_server.url)
