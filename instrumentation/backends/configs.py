"""The servers' configurations: every port explicit, and on the loopback.

They are written as JSON, which each of these servers reads as the YAML that it is.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from instrumentation.backends.launch import LOOPBACK

Config = Mapping[str, object]

# Without a configuration of its own a collector logs all it receives.
LOG_EVERYTHING: Config = {
    "exporters": {"debug": {"verbosity": "detailed"}},
    "service": {
        "pipelines": {
            signal: {"receivers": ["otlp"], "exporters": ["debug"]}
            for signal in ("traces", "metrics", "logs")
        }
    },
}


def prometheus(extra: Config) -> Config:
    """Prometheus: takes late points, labels metrics with their service."""
    base: Config = {
        "otlp": {
            "promote_resource_attributes": ["service.name", "service.instance.id"]
        },
        "storage": {"tsdb": {"out_of_order_time_window": "30m"}},
    }
    return merged(base, extra)


def jaeger(http: int, grpc: int, query_http: int, query_grpc: int) -> Config:
    """Jaeger: OTLP in, memory, the query API out, and nothing else that listens.

    There is no batch processor: a span is found as soon as its export is answered.
    """
    return {
        "receivers": {"otlp": _otlp(http, grpc)},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        "extensions": {
            "jaeger_storage": {
                "backends": {"memory": {"memory": {"max_traces": 100_000}}}
            },
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "enable_tracing": False,
                "http": _at(query_http),
                "grpc": _at(query_grpc),
            },
        },
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "exporters": ["jaeger_storage_exporter"],
                }
            },
            "telemetry": {"metrics": {"level": "none"}},
        },
    }


def collector(config: Config, http: int, grpc: int, health: int) -> Config:
    """Complete a collector's configuration: its OTLP receiver and health check."""
    asked = cast("Config", config.get("service", {})).get("extensions", [])
    ours: Config = {
        "receivers": {"otlp": _otlp(http, grpc)},
        "extensions": {"health_check": _at(health)},
        "service": {
            "extensions": ["health_check", *cast("Sequence[str]", asked)],
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    return merged(config, ours)


def merged(base: Config, extra: Config) -> Config:
    """Return `base` with `extra` put over it, table by table; a list is replaced."""
    both = dict(base)
    for key, value in extra.items():
        before = both.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            both[key] = merged(cast("Config", before), cast("Config", value))
        else:
            both[key] = value
    return both


def _otlp(http: int, grpc: int) -> Config:
    return {"protocols": {"http": _at(http), "grpc": _at(grpc)}}


def _at(port: int) -> Config:
    return {"endpoint": f"{LOOPBACK}:{port}"}
