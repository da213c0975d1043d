"""Whatever is wrong with it: one line says what, the next one what to do."""

import contextlib
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import FILES, Cli, Result, documents, many, write
from tests.waiting import until

from spanrun.cli.exits import Exit
from spanrun.testing import EmbeddingServer


def check(result: Result, code: Exit, *what: str, to_do: str) -> None:
    """The exit code, and the last two lines of standard error."""
    assert result.code == code, result.err
    *_, told, advice = result.err.splitlines()
    assert told.startswith("spanrun: ")
    assert all(each in told for each in what), told
    assert advice.startswith("  ")
    assert to_do in advice, advice
    assert "Traceback" not in result.err


# What is to be ingested


def test_a_missing_path(cli: Cli, docs: Path) -> None:
    result = cli("ingest", "docs", "nowhere.txt")
    check(
        result,
        Exit.SOME_FAILED,
        "1 file could not be read, among them nowhere.txt: there is no such file",
        to_do="run the same command again",
    )
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)
    assert "4 documents stored" in result.out


@pytest.mark.parametrize("path", ["nowhere.txt", "empty", "", "docs/fox.txt/inside"])
def test_nothing_to_ingest(cli: Cli, docs: Path, path: str) -> None:
    (cli.folder / "empty").mkdir()
    if not path:
        cli.folder.joinpath("docs").rename(cli.folder / ".hidden")
    result = cli("ingest", path)
    check(result, Exit.INPUT, "there is nothing to ingest", to_do="Name text files")
    assert not (cli.folder / ".spanrun").exists()


BROKEN: dict[str, tuple[bytes, str, Exit]] = {
    "empty.txt": (b"", "it is empty", Exit.OK),
    "blank.md": (b" \n\t\n", "there is no text in it", Exit.OK),
    "image.png": (b"\x89PNG\r\n", "not a text format: .png", Exit.OK),
    "no-ending": (b"text", "no file name ending", Exit.OK),
    "binary.txt": (b"\x00\x01\x02", "binary", Exit.SOME_FAILED),
    "latin.txt": ("café".encode("latin-1"), "byte 3 (0xe9)", Exit.SOME_FAILED),
    "half.txt": ("é".encode("utf-16")[:3], "is not UTF-16", Exit.SOME_FAILED),
    "page.html": (b"<html><body></body></html>", "there is no text", Exit.OK),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_without_usable_text_costs_itself(
    cli: Cli, docs: Path, name: str
) -> None:
    content, reason, code = BROKEN[name]
    (docs / name).write_bytes(content)
    result = cli("ingest", "docs")
    assert result.code == code
    assert f"skipped docs/{name}: " in result.err
    assert reason in result.err
    assert documents(cli.folder) == dict.fromkeys(FILES, 1)


def test_an_unreadable_file_costs_itself(
    cli: Cli, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith("fox.txt"):
            raise PermissionError(13, "Permission denied", path)
        return really(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    result = cli("ingest", "docs")
    check(result, Exit.SOME_FAILED, "fox.txt", "permission denied", to_do="again")
    assert documents(cli.folder).keys() == FILES.keys() - {"fox.txt"}


def test_a_pipe_is_never_opened(cli: Cli, docs: Path) -> None:
    os.mkfifo(docs / "pipe.txt")
    result = cli("ingest", "docs")
    assert result.code == Exit.OK
    assert "skipped docs/pipe.txt: a pipe, socket or device: not opened" in result.err


def test_many_reasons_are_cut_short(cli: Cli, docs: Path) -> None:
    write(docs, {f"{n:02}.svg": "<svg/>" for n in range(30)})
    result = cli("ingest", "docs", "--no-progress")
    assert result.err.count("\n") == 21
    assert result.err.endswith("… and 10 more; --json has them all\n")


# What is asked for


@pytest.mark.parametrize(
    ("arguments", "what", "to_do"),
    [
        (["--model", "m"], "--model m", "--embeddings-url"),
        (
            ["--embeddings-url", "http://h/v1"],
            "--embeddings-url http://h/v1",
            "--model",
        ),
    ],
)
def test_half_of_an_endpoint(
    cli: Cli, docs: Path, arguments: list[str], what: str, to_do: str
) -> None:
    check(cli("ingest", "docs", *arguments), Exit.USAGE, what, to_do=to_do)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "ftp://host/v1", "http://", "http://host:99999/v1", "http://[::"],
)
def test_a_url_that_is_none(cli: Cli, docs: Path, url: str) -> None:
    result = cli("ingest", "docs", "--embeddings-url", url, "--model", "m")
    check(result, Exit.CONFIGURATION, f"base_url='{url}'", to_do="")


@pytest.mark.parametrize("command", [["ingest"], ["search"], ["frobnicate"]])
def test_a_wrong_command_line(cli: Cli, command: list[str]) -> None:
    result = cli(*command)
    assert result.code == Exit.USAGE
    assert "Error: " in result.err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_timeout_that_cannot_be(
    cli: Cli, docs: Path, at: tuple[str, ...], seconds: str
) -> None:
    result = cli("ingest", "docs", *at, "--timeout", seconds)
    check(result, Exit.CONFIGURATION, f"Timeout(attempt={seconds}", to_do="> 0")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
        ("SPANRUN_METRIC_INTERVAL", "soon"),
    ],
)
def test_a_setting_that_cannot_be(
    cli: Cli, docs: Path, variable: str, value: str
) -> None:
    cli.environ = {variable: value}
    result = cli("ingest", "docs")
    check(result, Exit.CONFIGURATION, variable, repr(value), to_do="Must be")


def test_a_store_that_is_none(cli: Cli, docs: Path) -> None:
    cli.environ = {"SPANRUN_STORE": "none"}
    result = cli("ingest", "docs")
    check(result, Exit.CONFIGURATION, "SPANRUN_STORE=none", to_do="--store")


def test_a_key_that_no_header_can_hold(
    cli: Cli, docs: Path, at: tuple[str, ...]
) -> None:
    cli.environ = {"EMBEDDING_KEY": "se\ncret"}
    result = cli("ingest", "docs", *at)
    check(result, Exit.CONFIGURATION, "Authorization", to_do="Must be printable ASCII")
    assert "cret" not in result.err


# Where it is kept


def test_another_model_than_the_stores(
    cli: Cli, docs: Path, at: tuple[str, ...]
) -> None:
    cli("ingest", "docs/fox.txt")
    for command in (["ingest", "docs"], ["search", "fox"]):
        result = cli(*command, *at)
        check(
            result,
            Exit.CONFIGURATION,
            ".spanrun has vectors of 'wordllama-l2-256', not of 'm'",
            to_do="--store",
        )
    assert documents(cli.folder) == {"fox.txt": 1}


def test_another_dimension_than_the_stores(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    cli("ingest", "docs/fox.txt", *at)
    endpoint.spoil_next("dimension", times=9)
    result = cli("ingest", "docs", *at)
    check(
        result,
        Exit.UNREACHABLE,
        "3 documents could not be stored: the vectors of 'm' have 25 numbers, not 26",
        to_do="--model",
    )
    assert documents(cli.folder) == {"fox.txt": 1}
    endpoint.spoil_next("dimension", times=9)
    result = cli("search", "fox", *at)
    check(result, Exit.UNREACHABLE, "25 numbers, not 26", to_do="--model")


@pytest.mark.parametrize("command", [["ingest", "docs"], ["search", "fox"]])
def test_a_store_that_is_no_database(cli: Cli, docs: Path, command: list[str]) -> None:
    (cli.folder / ".spanrun").mkdir()
    kept = cli.folder / ".spanrun/documents.db"
    kept.write_text("Dear diary, today nothing happened. " * 20)
    result = cli(*command)
    what = ".spanrun/documents.db is no SQLite database"
    check(result, Exit.CONFIGURATION, what, to_do="Move it away")
    assert kept.read_text().startswith("Dear diary")


def test_a_database_of_another_program(cli: Cli, docs: Path) -> None:
    (cli.folder / ".spanrun").mkdir()
    with contextlib.closing(
        sqlite3.connect(cli.folder / ".spanrun/documents.db")
    ) as db:
        db.execute("create table bookmarks(url)")
    result = cli("ingest", "docs")
    check(result, Exit.CONFIGURATION, "of another program", to_do="Move it away")


@pytest.mark.parametrize("where", ["/dev/null/kept", "/proc/kept"])
def test_a_folder_that_cannot_be_made(cli: Cli, docs: Path, where: str) -> None:
    result = cli("ingest", "docs", "--store", where)
    check(result, Exit.DISK, f"{where}/documents.db", to_do="folder")


def test_the_store_is_damaged(cli: Cli, docs: Path) -> None:
    cli("ingest", "docs")
    kept = cli.folder / ".spanrun/documents.db"
    content = bytearray(kept.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    kept.write_bytes(content)
    for leftover in cli.folder.glob(".spanrun/documents.db-*"):
        leftover.unlink()
    result = cli("search", "fox")
    check(result, Exit.DISK, "documents.db", to_do="")


# The endpoint


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting."""
    monkeypatch.setattr("spanrun.policies.retry.Retrier._delay", lambda *_: 0.0)
    monkeypatch.setattr("spanrun.policies.retry.Retry.outage_layer", lambda *_: None)


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.usefixtures("patient")
def test_it_refuses(cli: Cli, docs: Path) -> None:
    where = nobody()
    result = cli(
        "ingest", "docs", "--embeddings-url", f"http://{where}", "--model", "m"
    )
    what = f"{where}/embeddings can't be reached"
    check(result, Exit.UNREACHABLE, what, to_do="Check that it")
    assert documents(cli.folder) == {}
    assert not result.out


@pytest.mark.usefixtures("patient")
def test_its_name_is_unknown(cli: Cli, docs: Path) -> None:
    url = "http://nowhere.invalid/v1"
    result = cli("ingest", "docs", "--embeddings-url", url, "--model", "m")
    check(
        result, Exit.UNREACHABLE, "nowhere.invalid/v1/embeddings can't", to_do="Check"
    )


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("status", "code", "to_do"),
    [
        (401, Exit.CONFIGURATION, "EMBEDDING_KEY"),
        (403, Exit.CONFIGURATION, "EMBEDDING_KEY"),
        (404, Exit.CONFIGURATION, "--embeddings-url, as http://host/v1, and --model"),
        (400, Exit.CONFIGURATION, "--model"),
        (429, Exit.UNREACHABLE, "Run the same command again"),
        (500, Exit.UNREACHABLE, "Run the same command again"),
        (503, Exit.UNREACHABLE, "Run the same command again"),
    ],
)
def test_it_answers_with_an_error(
    cli: Cli,
    docs: Path,
    endpoint: EmbeddingServer,
    at: tuple[str, ...],
    status: int,
    code: Exit,
    to_do: str,
) -> None:
    endpoint.fail_next(status, times=20)
    result = cli("ingest", "docs", *at)
    check(result, code, f"answered {status}", to_do=to_do)
    assert documents(cli.folder) == {}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("html", "is no JSON"),
        ("json", "is no JSON"),
        ("count", "0 vectors for 1 texts"),
        ("nan", "must be finite numbers"),
        ("zero", "must not be all zeros"),
        ("truncate", "gave no whole answer"),
        ("reset", "gave no whole answer"),
    ],
)
def test_it_answers_with_garbage(
    cli: Cli,
    docs: Path,
    endpoint: EmbeddingServer,
    at: tuple[str, ...],
    fault: Any,
    what: str,
) -> None:
    endpoint.spoil_next(fault, times=20)
    result = cli("ingest", "docs", *at)
    check(result, Exit.UNREACHABLE, what, to_do="--embeddings-url")
    assert documents(cli.folder) == {}


def test_it_answers_with_a_redirect(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    endpoint.spoil_next("redirect", times=9)
    result = cli("ingest", "docs", *at)
    moved = "moved to http://localhost:1/v1/embeddings, which isn't followed"
    check(result, Exit.CONFIGURATION, moved, to_do="--embeddings-url")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_it_takes_for_ever(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...], fault: Any
) -> None:
    endpoint.spoil_next(fault, times=20)
    result = cli("ingest", "docs", *at, "--timeout", "0.1")
    check(
        result, Exit.UNREACHABLE, "did not answer within 0", to_do="Check that it works"
    )


@pytest.mark.usefixtures("patient")
def test_it_dies_in_the_middle(cli: Cli, tmp_path: Path, at: tuple[str, ...]) -> None:
    many(tmp_path / "docs", 300)
    with EmbeddingServer(
        latency=0.02, jitter=0, rate_limited=0, unavailable=0
    ) as server:

        def die() -> None:
            until(lambda: server.stats.texts >= 100)
            server.__exit__(None, None, None)

        killer = threading.Thread(target=die)
        killer.start()
        url, model = f"{server.url}/v1", server.model
        result = cli("ingest", "docs", "--embeddings-url", url, "--model", model)
        killer.join()
    stored = documents(cli.folder)
    assert 0 < len(stored) < 300
    left = 300 - len(stored)
    assert f"{len(stored)} documents stored" in result.out
    assert f" · {left} failed · " in result.out
    check(
        result,
        Exit.UNREACHABLE,
        f"{left} documents could not be stored: 127.0.0.1:",
        "can't be reached",
        to_do="run this again",
    )


def test_a_text_that_it_refuses_costs_that_document(
    cli: Cli, docs: Path, at: tuple[str, ...]
) -> None:
    with EmbeddingServer(
        latency=0, jitter=0, rate_limited=0, unavailable=0, poison="Yeast"
    ) as server:
        url, model = f"{server.url}/v1", server.model
        result = cli("ingest", "docs", "--embeddings-url", url, "--model", model)
    check(
        result,
        Exit.SOME_FAILED,
        "1 document could not be stored",
        "answered 400 Bad Request: this input is not accepted",
        to_do="--model",
    )
    assert documents(cli.folder).keys() == FILES.keys() - {"bread.rst"}
    assert "not stored: " in result.out
    assert " × embed: EmbeddingError: 127.0.0.1:" in result.out


def test_a_refused_key_is_not_tried_with_each_half(
    cli: Cli, docs: Path, endpoint: EmbeddingServer, at: tuple[str, ...]
) -> None:
    cli("ingest", "docs/fox.txt", *at)
    before = endpoint.stats.requests
    endpoint.fail_next(401, times=99)
    result = cli("ingest", "docs", *at)
    check(result, Exit.SOME_FAILED, "answered 401", to_do="EMBEDDING_KEY")
    assert endpoint.stats.requests == before + 1


# Secrets


def test_the_key_is_nowhere(cli: Cli, docs: Path) -> None:
    key = "s3cret-Key.0123456789"
    cli.environ = {"EMBEDDING_KEY": key}
    for store, token in (("right", key), ("wrong", "another")):
        with EmbeddingServer(
            latency=0, jitter=0, rate_limited=0, unavailable=0, token=token
        ) as server:
            options = (
                "--embeddings-url",
                f"{server.url}/v1",
                "--model",
                server.model,
                "--store",
                store,
            )
            result = cli("ingest", "docs", *options)
            assert (result.code == Exit.OK) == (token == key)
            assert key not in result.out + result.err
    for path in cli.folder.rglob("*.db*"):
        assert key.encode() not in path.read_bytes()


# Other clouds


def test_a_missing_extra(cli: Cli, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apsw", None)
    result = cli("ingest", "docs")
    check(
        result, Exit.CONFIGURATION, "needs apsw", to_do="pip install 'spanrun[ingest]'"
    )


def test_a_missing_model_is_found_before_the_work(
    cli: Cli, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = cli("ingest", "docs")
    check(
        result, Exit.CONFIGURATION, "wordllama", to_do="pip install 'spanrun[ingest]'"
    )


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """An endpoint that accepts and then says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "protocol"), [("refuses", "grpc"), ("hangs", "http/protobuf")]
)
def test_a_dead_collector_changes_no_result(
    cli: Cli, docs: Path, how: str, protocol: str
) -> None:
    expected = cli("ingest", "docs", "--store", "without", "--json").json
    with silent() as url:
        cli.environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url
            if how == "hangs"
            else f"http://{nobody()}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }
        result = cli("ingest", "docs", "--json")
    assert result.code == Exit.OK
    assert result.json["documents"] == expected["documents"]
    assert how == "hangs" or "\ntelemetry: " in result.err
    account = result.json["telemetry"]
    assert all(account["produced"].values())
    assert not any(account["delivered"].values())
    assert account["spooled"] == sum(account["produced"].values())
    assert account["dropped"] == 0
