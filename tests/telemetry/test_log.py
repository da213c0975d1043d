"""What telemetry says of itself raises nothing, and shows no secret."""

import io
import logging
import threading

import pytest
from tests.jobs import double

import spanrun as sr
from spanrun.telemetry.log import Log

NAME = "spanrun.test_log"


class Broken(logging.Handler):
    """Raises, as a handler may that writes where nothing can be written."""

    def emit(self, record):
        raise RuntimeError("this handler is broken")


@pytest.fixture
def logger():
    logger = logging.getLogger(NAME)
    before = logger.handlers[:], logger.filters[:], logger.propagate
    yield logger
    logger.handlers[:], logger.filters[:], logger.propagate = before


@pytest.mark.parametrize("how", ["handler", "filter"])
def test_what_the_application_cannot_log_is_said_on_stderr(logger, capsys, how):
    def refuse(record):
        raise RuntimeError("this filter is broken")

    if how == "handler":
        logger.addHandler(Broken())
    else:
        logger.addFilter(refuse)
    Log(NAME).warning("%s is down", "the collector")
    assert capsys.readouterr().err == "the collector is down\n"
    Log(NAME).info("%s", "of no interest")
    assert capsys.readouterr().err == ""


def test_values_and_tracebacks_are_redacted(caplog):
    error = ValueError("password=hunter22")
    Log(NAME).error("%s: %d left", "token=abcdef123", 3, error=error)
    assert "[redacted]: 3 left" in caplog.text
    assert "ValueError: password=[redacted]" in caplog.text
    assert "hunter22" not in caplog.text
    assert "abcdef123" not in caplog.text


def test_a_record_names_the_place_that_said_it(caplog):
    Log(NAME).warning("here")
    (record,) = caplog.records
    assert record.pathname == __file__
    assert record.funcName == "test_a_record_names_the_place_that_said_it"


def test_a_value_without_a_text_is_no_reason_to_fail(caplog):
    class Silent:
        def __str__(self):
            raise RuntimeError("no text")

    Log(NAME).warning("%s", Silent())
    assert "<Silent without a text>" in caplog.text


async def test_a_handler_that_raises_breaks_no_job(spanrun_capture, monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(said))

    class Observer:
        def run_opened(self, run):
            raise RuntimeError("an observer")

        job_ended = run_closed = lambda self, *_: self.run_opened(None)

    handler = Broken()
    logging.getLogger().addHandler(handler)
    try:
        async with sr.Runner("r", observers=[Observer()]) as runner:
            assert await runner.map(double, [1, 2]) == [2, 4]
    finally:
        logging.getLogger().removeHandler(handler)
    assert "an observer" in said.getvalue()


def test_threads_can_say_it_at_once(caplog):
    log = Log(NAME)
    threads = [threading.Thread(target=log.warning, args=("x",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 8
