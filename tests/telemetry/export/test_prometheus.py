"""Metrics to be scraped: what is served, where, and what happens if that can't be."""

import socket
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spanrun.errors import ConfigurationError
from spanrun.settings import load

pytestmark = pytest.mark.slow

SERVED = """
from urllib.request import urlopen

async def job(number):
    if number % 10 == 3:
        raise ValueError
    return await double(number)

async def jobs(items=1000):
    async with sr.Runner("work", limit=8) as runner:
        await runner.map(job, range(items), errors="collect")

def scrape():
    with urlopen(f"http://{HOST}:{PORT}/metrics") as answer:
        return answer.read().decode()
"""
ASKED = "sr.configure(service_name='mine', store='none')\n"


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@pytest.fixture
def served(run_program: Any, port: int) -> Any:
    def run(text: str, host: str = "localhost", **environ: str) -> Any:
        places = f"HOST, PORT = {host!r}, {port}\n"
        done = run_program(
            places + SERVED + text,
            OTEL_METRICS_EXPORTER="prometheus",
            OTEL_EXPORTER_PROMETHEUS_PORT=str(port),
            **environ,
        )
        assert done.code == 0, done.err
        return done

    return run


def samples(text: str, name: str) -> dict[tuple[str, str], float]:
    return {
        (
            sample.labels["spanrun_job_outcome"],
            sample.labels.get("error_type", ""),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_counts_are_exact_at_any_moment(served: Any):
    text = "sr.run(jobs())\nprint(scrape())\nassert sr.shutdown()\n"
    done = served(ASKED + text)
    assert done.err == ""
    jobs = samples(done.out, "spanrun_jobs_total")
    assert {key: value for key, value in jobs.items() if value} == {
        ("ok", ""): 900,
        ("failed", "ValueError"): 100,
    }
    counts = samples(done.out, "spanrun_job_duration_seconds_count")
    assert (counts["ok", ""], counts["failed", ""]) == (900, 100)
    assert 'service_name="mine"' in done.out


def test_scrapes_at_once_have_all_of_it_each(served: Any):
    text = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "sr.run(jobs(100))\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    found = list(pool.map(lambda _: scrape(), range(40)))\n"
        "ours = lambda text: sorted(l for l in text.split('\\n') if '_jobs_' in l)\n"
        "print(len({str(ours(each)) for each in found}), len(ours(found[0])))\n"
    )
    assert served(ASKED + text).out == "1 8\n"


def test_instruments_of_other_libraries_are_served_too(served: Any):
    text = (
        "from opentelemetry import metrics\n"
        "metrics.get_meter('theirs').create_counter('their.count').add(3)\n"
        "print([l[-4:] for l in scrape().split('\\n') if l[:12] == 'their_count_'])\n"
    )
    assert served(ASKED + text).out == "[' 3.0']\n"


def test_nothing_is_served_any_more_after_shutdown(served: Any):
    text = (
        "sr.run(jobs(1))\nscrape()\nsr.shutdown()\n"
        "try: scrape()\n"
        "except OSError: print('closed')\n"
        f"{ASKED}sr.run(jobs(1))\n"
        "print(len(scrape()) > 0)\n"
    )
    assert served(ASKED + text).out == "closed\nTrue\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_the_host_is_the_loopback_or_what_the_variable_says(served: Any, host: str):
    text = (
        "import socket\n"
        "def is_open(host):\n"
        "    with socket.socket() as tried:\n"
        "        return tried.connect_ex((host, PORT)) == 0\n"
        "print([host for host in ('127.0.0.1', '127.0.0.2') if is_open(host)])\n"
    )
    environ = {} if host == "127.0.0.1" else {"OTEL_EXPORTER_PROMETHEUS_HOST": host}
    assert served(ASKED + text, host, **environ).out == f"['{host}']\n"


def test_where_the_port_is_taken_the_program_goes_on(served: Any, port: int):
    with socket.create_server(("127.0.0.1", port)):
        done = served(
            ASKED + "sr.run(jobs(10))\nprint('done', sr.shutdown())\n",
            OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
        )
    assert done.out == "done True\n"
    assert f"metrics are not served at 127.0.0.1:{port}" in done.err
    assert "OTEL_EXPORTER_PROMETHEUS_PORT" in done.err


def test_without_the_exporter_the_extra_is_named(run_program: Any):
    done = run_program(
        "sys.modules['prometheus_client'] = None\n"
        "try: sr.configure()\n"
        "except sr.ConfigurationError as error: print(error)\n",
        OTEL_METRICS_EXPORTER="prometheus",
    )
    assert done.out == (
        "OTEL_METRICS_EXPORTER=prometheus needs prometheus_client: "
        "pip install 'spanrun[prometheus]'\n"
    )


def test_a_port_that_can_not_be_one_is_refused(run_program: Any):
    done = run_program(
        "try: sr.configure()\nexcept sr.ConfigurationError as error: print(error)\n",
        OTEL_METRICS_EXPORTER="prometheus",
        OTEL_EXPORTER_PROMETHEUS_PORT="70000",
    )
    assert done.out == "prometheus_port=70000: must be at most 65535\n"


def test_only_metrics_can_be_scraped():
    with pytest.raises(
        ConfigurationError, match=r"must be one of otlp, console, none$"
    ):
        load(environ={"OTEL_TRACES_EXPORTER": "prometheus"})


def test_a_forked_child_leaves_the_port_to_its_parent(served: Any):
    text = (
        "import os\n"
        "sr.run(jobs(10))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sr.run(jobs(10))\n"
        "    sr.shutdown()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(scrape())\n"
    )
    jobs = samples(served(ASKED + text).out, "spanrun_jobs_total")
    assert jobs["ok", ""] == 9
