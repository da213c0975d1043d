"""Prometheus, Jaeger and a Collector on the loopback, without containers.

    python instrumentation/stack.py    # until Ctrl-C or SIGTERM

It starts what `make backends` has built, with the configuration of this folder, on
free ports, and prints the addresses. Everything they keep is in temporary folders,
which are gone with them.

Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 a server didn't start, or ended by
itself; 69 a backend isn't built.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final, NoReturn

import yaml

if not __package__:  # run as a script: import it all as part of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from instrumentation.backends import servers
from instrumentation.backends.servers import OtlpServer, Server

HERE: Final = Path(__file__).resolve().parent

_NOT_BUILT: Final = 69
_LOOK: Final = 0.5  # seconds
_VARIABLE: Final = re.compile(r"\$\{env:(\w+):-[^}]*\}")


class EndedError(Exception):
    """A server ended by itself."""


def main() -> int:
    """Run the stack until a signal ends it; returns the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        with ExitStack() as block:
            _say("starting Prometheus, Jaeger and a Collector …")
            jaeger = block.enter_context(servers.jaeger())
            prometheus = block.enter_context(servers.prometheus(prometheus_config()))
            queue = block.enter_context(TemporaryDirectory(prefix="spanrun-queue-"))
            config = collector_config(jaeger, prometheus, queue)
            collector = block.enter_context(servers.collector(config))
            print(addresses(jaeger, prometheus, collector), flush=True)
            _watch({"Jaeger": jaeger, "Prometheus": prometheus, "Collector": collector})
    except KeyboardInterrupt:
        _say("stopped")
        return 0
    except servers.BackendMissingError as missing:
        _say(f"stack: {missing}")
        return _NOT_BUILT
    except (servers.ServerError, EndedError) as error:
        _say(f"stack: {error}")
        return 1


def prometheus_config() -> dict[str, Any]:
    """`prometheus/prometheus.yml`, with the whole path of its rules."""
    folder = HERE / "prometheus"
    config: dict[str, Any] = yaml.safe_load((folder / "prometheus.yml").read_text())
    config["rule_files"] = [str(folder / name) for name in config["rule_files"]]
    return config


def collector_config(
    jaeger: OtlpServer, prometheus: OtlpServer, queue: str
) -> dict[str, Any]:
    """`collector/collector.yaml` for these servers: there is no Tempo here.

    The receiver and the health check are left to who starts it.
    """
    told = {
        "LISTEN": "127.0.0.1",
        "JAEGER": jaeger.otlp_grpc.removeprefix("http://"),
        "TEMPO": "",
        "PROMETHEUS": prometheus.otlp_http,
        "QUEUE": queue,
    }
    text = (HERE / "collector" / "collector.yaml").read_text(encoding="utf-8")
    text = _VARIABLE.sub(lambda found: told[found[1]], text)
    config: dict[str, Any] = yaml.safe_load(text)
    del config["exporters"]["otlp_grpc/tempo"]
    config["service"]["pipelines"]["traces"]["exporters"].remove("otlp_grpc/tempo")
    config["service"]["extensions"].remove("health_check")
    return config


def addresses(jaeger: Server, prometheus: Server, collector: OtlpServer) -> str:
    """What to type into another terminal."""
    return f"""\
  Collector   {collector.otlp_http} (HTTP), {collector.otlp_grpc} (gRPC)
  Prometheus  {prometheus.url}
  Jaeger      {jaeger.url}

In another terminal:
  export OTEL_EXPORTER_OTLP_ENDPOINT={collector.otlp_http}
  spanrun demo
  curl '{prometheus.url}/api/v1/query?query=spanrun_jobs_total'
  curl '{jaeger.url}/api/services'

Ctrl-C ends all three, and what they keep is gone with them."""


def _watch(running: Mapping[str, Server]) -> NoReturn:
    while True:
        time.sleep(_LOOK)
        for name, server in running.items():
            try:
                os.kill(server.pid, 0)
            except ProcessLookupError:
                raise EndedError(f"{name} has ended by itself") from None


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    del signum, frame
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
