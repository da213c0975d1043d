"""Every HTTP client on one event loop after another: it opens there anew."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.clients.conformance import Asked, Faulty, Subject
from tests.clients.test_conformance import SUBJECTS
from tests.forking import forking, needs_fork

import spanrun as sr
from spanrun.async_utils import asyncio_run
from spanrun.clients.solr import AsyncSolrClient
from spanrun.errors import ConfigurationError, StoreError
from spanrun.runner.kept import kept
from spanrun.testing import no_leaks
from spanrun.testing._http import Answer


async def found(client: AsyncSolrClient) -> int:
    return (await client.search({"q": "*:*"})).response.num_found


SOLR = Subject(
    name="AsyncSolrClient",
    make=lambda url, asked: AsyncSolrClient(
        f"{url}/solr/docs", retry=asked.retry, request_timeout_sec=asked.attempt
    ),
    ask=found,
    close=lambda client: client.close(),
    good=b'{"responseHeader": {"status": 0}, "response": {"docs": [], "numFound": 7}}',
    value=7,
    wrong=(),
    error=StoreError,
    lost=(StoreError,),
)

pytestmark = pytest.mark.parametrize("subject", [*SUBJECTS, SOLR], ids=str)

Enter = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def server(subject: Subject) -> Iterator[Faulty]:
    kept.close()  # that of another test: what is made here is closed in the end
    with no_leaks(), Faulty(subject.good) as running:
        yield running
        gc.collect()


@pytest.fixture
def client(subject: Subject, server: Faulty) -> Any:
    return subject.make(server.url, Asked())


@pytest.mark.parametrize("enter", [asyncio.run, sr.run], ids=["asyncio", "spanrun"])
def test_it_is_used_in_one_call_after_another(
    enter: Enter, subject: Subject, server: Faulty, client: Any
) -> None:
    for _ in range(3):
        assert enter(subject.ask(client)) == subject.value

    assert server.connections == 3  # each closed with its loop: nothing is left


def test_asyncio_run_uses_its_connection_again(
    subject: Subject, server: Faulty, client: Any
) -> None:
    for _ in range(3):
        assert asyncio_run(subject.ask(client)) == subject.value

    assert server.connections == 1
    kept.close()  # as at exit: that closes the client, too


def test_it_changes_between_a_loop_that_stands_still_and_others(
    subject: Subject, server: Faulty, client: Any
) -> None:
    for enter in (asyncio_run, sr.run, asyncio_run, asyncio.run, asyncio_run):
        assert enter(subject.ask(client)) == subject.value

    assert server.connections == 5


def test_it_may_be_closed_on_another_loop(
    subject: Subject, server: Faulty, client: Any
) -> None:
    asyncio_run(subject.ask(client))
    sr.run(subject.close(client))
    kept.close()

    assert server.connections == 1


def test_async_with_takes_it_from_a_loop_that_stands_still(
    subject: Subject, server: Faulty, client: Any
) -> None:
    async def use() -> Any:
        async with client:
            return await subject.ask(client)

    assert asyncio_run(subject.ask(client)) == subject.value
    assert asyncio.run(use()) == subject.value
    assert server.connections == 2


def test_it_is_refused_while_its_loop_runs_and_goes_on_there(
    subject: Subject, client: Any
) -> None:
    async def main() -> Any:
        await subject.ask(client)
        with pytest.raises(ConfigurationError, match="open on another event loop"):
            sr.run(subject.ask(client))
        value = await subject.ask(client)
        await subject.close(client)
        return value

    assert asyncio.run(main()) == subject.value


def test_a_call_that_is_cut_off_by_the_end_of_its_loop_leaves_nothing(
    subject: Subject, server: Faulty, client: Any
) -> None:
    async def main() -> None:
        tasks.append(asyncio.ensure_future(subject.ask(client)))
        await server.asked()

    tasks: list[Any] = []
    server.answers.append(Answer(200, delivery="hang"))
    asyncio.run(main())

    assert tasks[0].cancelled()
    assert asyncio.run(subject.ask(client)) == subject.value


def test_it_is_used_in_threads_one_after_another(subject: Subject, client: Any) -> None:
    got: list[Any] = []
    for _ in range(2):
        ask = subject.ask(client)
        thread = threading.Thread(target=lambda ask=ask: got.append(asyncio.run(ask)))
        thread.start()
        thread.join()

    assert got == [subject.value] * 2


IN_A_CHILD = """
from spanrun.async_utils import asyncio_run
from tests.clients.conformance import Asked
from tests.clients.test_loops import SOLR, SUBJECTS

url, name = sys.argv[1:]
[subject] = [each for each in (*SUBJECTS, SOLR) if str(each) == name]
client = subject.make(url, Asked())

def ask():
    return asyncio_run(subject.ask(client)) == subject.value

assert ask()
assert status_of(child_of(ask)) == 0
print("the child has asked")
input()
assert ask()
print("the parent has asked again")
input()
asyncio_run(subject.close(client))
"""


@needs_fork
def test_a_forked_child_has_connections_of_its_own(
    subject: Subject, server: Faulty
) -> None:
    with forking(IN_A_CHILD, server.url, subject) as program:
        for what in ("the child has asked", "the parent has asked again"):
            program.says(what)
            assert server.connections == 2
            program.go_on()
