"""The real backends, started for the length of a `with` block.

    with jaeger() as traces, prometheus() as metrics:
        ...  # send to traces.otlp_http, ask traces.url + "/api/traces?service=…"

Each server has free loopback ports, an empty temporary folder, and a leash: it ends
with the block, and also when the process that started it is killed. A context
manager here raises `BackendMissingError` when its backend isn't provided, with the
command that provides it, and `ServerError` with the end of the log when the server
doesn't start.
"""

import json
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from instrumentation.backends import configs
from instrumentation.backends.configs import Config
from instrumentation.backends.inventory import (
    BackendMissingError,
    locate,
    why_missing,
)
from instrumentation.backends.launch import LOOPBACK, Plan, ServerError, running
from instrumentation.backends.manifest import HERE

__all__ = [
    "BackendMissingError",
    "OtlpServer",
    "Server",
    "ServerError",
    "collector",
    "jaeger",
    "locate",
    "prometheus",
    "solr",
    "toxiproxy",
    "why_missing",
]


@dataclass(frozen=True)
class Server:
    """A server which answers at `url`; its log is gone with it."""

    url: str
    pid: int
    log_path: Path


@dataclass(frozen=True)
class OtlpServer(Server):
    """A server which takes OTLP.

    `otlp_http` and `otlp_grpc` are values for OTEL_EXPORTER_OTLP_ENDPOINT: over HTTP
    the exporter itself adds /v1/traces and the like.
    """

    otlp_http: str
    otlp_grpc: str


@contextmanager
def prometheus(config_extra: Config | None = None) -> Generator[OtlpServer]:
    """Run a Prometheus which takes OTLP metrics (HTTP only) and exemplars.

    `config_extra` is put over its configuration, as in `{"rule_files": [...]}`.
    `url` serves /api/v1/query and the like; `otlp_grpc` is empty.
    """
    program = locate("prometheus") / "prometheus"

    def plan(folder: Path, ports: Sequence[int]) -> Plan:
        (port,) = ports
        argv = [
            str(program),
            f"--config.file={_write(folder, configs.prometheus(config_extra or {}))}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ]
        return Plan(argv, port, "/-/ready")

    with running("prometheus", 1, plan) as server:
        url = _url(server.ports[0])
        yield OtlpServer(url, server.pid, server.log_path, f"{url}/api/v1/otlp", "")


@contextmanager
def jaeger() -> Generator[OtlpServer]:
    """Run a Jaeger with an empty store in memory.

    `url` serves its query API: /api/services, /api/traces?service=…, /api/v3/….
    """
    program = locate("jaeger") / "jaeger"

    def plan(folder: Path, ports: Sequence[int]) -> Plan:
        config = _write(folder, configs.jaeger(*ports))
        return Plan([str(program), "--config", str(config)], ports[2], "/api/services")

    with running("jaeger", 4, plan) as server:
        http, grpc, query, _ = (_url(port) for port in server.ports)
        yield OtlpServer(query, server.pid, server.log_path, http, grpc)


@contextmanager
def collector(config: Config = configs.LOG_EVERYTHING) -> Generator[OtlpServer]:
    """Run an OpenTelemetry Collector; by default it logs all it receives.

    `config` is its configuration without the receiver `otlp`, which pipelines can
    name all the same: ports and the health check (`url`) are added to it.
    """
    program = locate("otelcol") / "otelcol"

    def plan(folder: Path, ports: Sequence[int]) -> Plan:
        path = _write(folder, configs.collector(config, *ports))
        return Plan([str(program), f"--config={path}"], ports[2], "/")

    with running("collector", 3, plan) as server:
        http, grpc, health = (_url(port) for port in server.ports)
        yield OtlpServer(health, server.pid, server.log_path, http, grpc)


@contextmanager
def toxiproxy() -> Generator[Server]:
    """Run a toxiproxy without proxies; `url` is the API which makes them."""
    program = locate("toxiproxy") / "toxiproxy"

    def plan(_folder: Path, ports: Sequence[int]) -> Plan:
        (port,) = ports
        argv = [str(program), "-host", LOOPBACK, "-port", str(port)]
        return Plan(argv, port, "/version")

    with running("toxiproxy", 1, plan) as server:
        yield Server(_url(server.ports[0]), server.pid, server.log_path)


@contextmanager
def solr() -> Generator[Server]:
    """Run a Solr with the empty core `docs` (solr/home/); `url` is the core's."""
    place = locate("solr")

    def plan(folder: Path, ports: Sequence[int]) -> Plan:
        (port,) = ports
        home = shutil.copytree(HERE / "solr" / "home", folder / "home")
        argv = [
            "java",
            "-Xmx512m",
            "-XX:TieredStopAtLevel=1",  # it starts sooner
            "-XX:-UsePerfData",  # no file of its own among the temporary ones
            f"-Djava.io.tmpdir={folder}",
            f"-Dlog4j2.configurationFile={HERE / 'solr' / 'log4j2.xml'}",
            f"-Dsolr.log.dir={folder}",
            *("-cp", f"{place / 'classes'}:{place / 'lib'}/*"),
            *("Launch", str(home), str(port)),
        ]
        return Plan(argv, port, "/solr/docs/select?q=*:*&rows=0")

    with running("solr", 1, plan) as server:
        url = f"{_url(server.ports[0])}/solr/docs"
        yield Server(url, server.pid, server.log_path)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _write(folder: Path, config: Config) -> Path:
    path = folder / "config.yaml"
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return path
