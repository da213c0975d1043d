"""`Scraped`: the metrics for Prometheus to fetch, by OpenTelemetry's own exporter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from opentelemetry.sdk.metrics.export import MetricsData

from spanrun import extras
from spanrun.errors import ConfigurationError
from spanrun.semconv import SERVICE_INSTANCE_ID, SERVICE_NAME
from spanrun.telemetry.forks import no_fork, tell_after_fork
from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

_USER: Final = "OTEL_METRICS_EXPORTER=prometheus"
_PORTS: Final = 65_535
_LABELS: Final = (SERVICE_NAME, SERVICE_INSTANCE_ID)
"""What of the resource is a label, as Prometheus makes it of what comes over OTLP."""


class Scraped:
    """Serves the metrics as they are when they are asked for.

    A forked child serves nothing: the port is its parent's.

    Args:
        host: An address of this machine; another than the loopback opens it to others.
        port: Where there is something already, that is said, and nothing is served.
        gather: Gives the metrics as they are now; None where there are none.

    Raises:
        ConfigurationError: The exporter isn't installed, or the port can't be one.
    """

    def __init__(
        self, host: str, port: int, gather: Callable[[], MetricsData | None]
    ) -> None:
        if port > _PORTS:
            raise ConfigurationError(
                f"prometheus_port={port}: must be at most {_PORTS}"
            )
        with no_fork():
            client: Any = extras.load(_USER, "prometheus_client")
        registry = client.CollectorRegistry(auto_describe=False)
        registry.register(_Families(client.CollectorRegistry(), gather))
        self._server: Any = None
        try:
            self._server, self._thread = client.start_http_server(
                port, host, registry=registry
            )
        except OSError as error:
            _log.warning(
                "metrics are not served at %s:%d: %s: choose another place by "
                "OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT",
                *(host, port, error),
            )
        tell_after_fork(self)

    def close(self, timeout: float) -> bool:
        """Serve no more."""
        server, self._server = self._server, None
        if server is None:
            return True
        server.shutdown()
        server.server_close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def after_fork(self) -> None:
        """In the child: the port is free when the parent ends."""
        server, self._server = self._server, None
        if server is not None:
            server.socket.close()


class _Families:
    """What Prometheus' client asks, one scrape after the other.

    Args:
        registry: Has nothing else.
        gather: See `Scraped`.
    """

    def __init__(self, registry: Any, gather: Callable[[], MetricsData | None]) -> None:
        with extras.named_when_missing(_USER, "prometheus_client"), no_fork():
            from opentelemetry.exporter import prometheus  # noqa: PLC0415 -- 60 ms

        reader: Any = prometheus.PrometheusMetricReader(
            registry=registry, resource_attribute_filter=_LABELS.__contains__
        )

        def collect(*_: Any, **__: Any) -> MetricsData | None:
            return gather()

        # As a provider of the SDK does: it is told what there is.
        reader._set_collect_callback(collect)  # noqa: SLF001
        self._registry: Final = registry
        self._lock: Final = threading.Lock()

    def collect(self) -> Iterable[Any]:
        """The families of metrics: all of one moment."""
        with self._lock:  # the reader has one queue for all scrapes
            return list(self._registry.collect())
