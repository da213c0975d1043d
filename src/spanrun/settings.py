"""Every setting, with one order of precedence, as one frozen value.

Arguments of `configure` come first, then ``SPANRUN_*``, then ``OTEL_*``, then
the ``spanrun.toml`` or the ``[tool.spanrun]`` table of the ``pyproject.toml``
in the working directory.
"""

from __future__ import annotations

import logging
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from spanrun.endpoints import endpoint_fault
from spanrun.errors import ConfigurationError
from spanrun.text import line_of
from spanrun.urls import shown

Exporter: TypeAlias = Literal["otlp", "console", "prometheus", "none"]
Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
Signal: TypeAlias = Literal["traces", "metrics", "logs"]
Temporality: TypeAlias = Literal["cumulative", "delta", "lowmemory"]
Histograms: TypeAlias = Literal[
    "explicit_bucket_histogram", "base2_exponential_bucket_histogram"
]
Exemplars: TypeAlias = Literal["trace_based", "always_on", "always_off"]

Told: TypeAlias = Literal["auto", "true", "false"]

STORE: Final = ".spanrun"
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """Where one signal goes. Headers, certificates and the like stay in ``OTEL_*``.

    Attributes:
        exporter: What sends it.
        protocol: How OTLP is spoken.
        endpoint: Set when it was given as an argument or in a file; otherwise
            the exporter reads ``OTEL_EXPORTER_OTLP_*`` by itself.
        origins: Where protocol and endpoint come from.
    """

    exporter: Exporter
    protocol: Protocol
    endpoint: str | None
    origins: Mapping[str, str] = field(
        default_factory=dict[str, str], compare=False, repr=False
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What `configure` works from. See `load`.

    Attributes:
        enabled: False under ``OTEL_SDK_DISABLED=true``.
        service_name: ``service.name`` of the resource.
        traces: Where spans go.
        metrics: Where metrics go.
        logs: From which level on log records leave, and say where they were made.
        log_records: Where they go.
        log_delay: Seconds that a log record waits for others.
        log_batch: Log records that are handed over at once.
        log_queue: Log records that may wait for that.
        prometheus_host: Where metrics are served to be scraped, with the port.
        prometheus_port: The same.
        store: The folder of the local store; None for no local store.
        slow: Seconds from which a job is slow; what is over its kind's p99 always is.
        keep_rate: Traces a second that are kept, whatever the sampler says, for each
            reason.
        spool: The folder of what waits to be delivered.
        spool_bytes: That may wait there.
        temporality: What metrics count from: see OpenTelemetry's specification.
        histograms: The buckets of histograms.
        exemplars: Which measurements may become exemplars.
        metric_interval: Seconds between two exports of the metrics.
        shutdown_timeout: Seconds that leaving may take.
        loop_threshold: Seconds that one step may hold the event loop.
        summary: Whether the end of `run` prints what was recorded; ``"auto"``: on a
            terminal, where the program's own module calls `run`.
        origins: For each setting, where its value comes from.
    """

    enabled: bool
    service_name: str
    traces: SignalSettings
    metrics: SignalSettings
    logs: int | None
    log_records: SignalSettings
    log_delay: float
    log_batch: int
    log_queue: int
    prometheus_host: str
    prometheus_port: int
    store: Path | None
    slow: float | None
    keep_rate: int
    spool: Path
    spool_bytes: int
    temporality: Temporality
    histograms: Histograms
    exemplars: Exemplars
    metric_interval: float
    shutdown_timeout: float
    loop_threshold: float
    summary: Told
    origins: Mapping[str, str] = field(compare=False)

    def signal(self, signal: Signal) -> SignalSettings:
        """Where ``signal`` goes."""
        others = {"traces": self.traces, "metrics": self.metrics}
        return others.get(signal, self.log_records)


class _Sources:
    """Looks a setting up in the order of precedence, and notes where it was."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        environ: Mapping[str, str],
        file: Mapping[str, Any],
        file_name: str,
    ) -> None:
        self._arguments = arguments
        self._environ = environ
        self._file = file
        self._file_name = file_name
        self.origins: dict[str, str] = {}

    def get(self, name: str, *variables: str, default: Any = None) -> Any:
        """The value of ``name``; ``variables`` are its ``OTEL_*`` names."""
        if self._arguments.get(name) is not None:
            self.origins[name] = "argument"
            return self._arguments[name]
        for variable in (f"SPANRUN_{name.upper()}", *variables):
            # An empty variable counts as unset: OTel specification, Configuration.
            if value := self._environ.get(variable, "").strip():
                self.origins[name] = variable
                return value
        if name in self._file:
            self.origins[name] = self._file_name
            return self._file[name]
        self.origins[name] = "default"
        return default

    def bad(self, name: str, value: object, hint: str) -> ConfigurationError:
        """The error for a value that can't be used."""
        return ConfigurationError(
            f"{name}={line_of(value)} (from {self.origins[name]}): {hint}"
        )

    def text(self, name: str, *variables: str) -> str | None:
        """A text."""
        value = self.get(name, *variables)
        if value is None or isinstance(value, str):
            return value
        raise self.bad(name, value, "must be a text")

    def boolean(self, name: str, *variables: str, default: bool) -> bool:
        """A setting that is on or off."""
        value = self.get(name, *variables, default=default)
        text = str(value).lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise self.bad(name, value, "must be true or false")

    def seconds(
        self, name: str, *variables: str, default: float = 0.0, unit: float = 1.0
    ) -> float:
        """A positive number; an ``OTEL_*`` variable holds it in ``unit`` seconds."""
        value = self.get(name, *variables, default=default)
        scale = unit if self.origins[name] in variables else 1.0
        try:
            seconds = math.nan if isinstance(value, bool) else float(value) * scale
        except (TypeError, ValueError):
            raise self.bad(name, value, "must be a number") from None
        if not 0 < seconds < float("inf"):
            raise self.bad(name, value, "must be above 0")
        return seconds

    def whole(self, name: str, *variables: str, default: int) -> int:
        """A positive whole number."""
        value = self.get(name, *variables, default=default)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise self.bad(name, value, "must be a whole number") from None
        if isinstance(value, bool | float):
            raise self.bad(name, value, "must be a whole number")
        if number < 1:
            raise self.bad(name, value, "must be above 0")
        return number

    def folder(self, name: str, *, default: Path | None) -> Path | None:
        """A path, or ``default``; None for an empty one."""
        value = self.get(name)
        if value is None or value == "":
            return default if value is None else None
        if isinstance(value, str | Path) and "\0" not in str(value):
            return Path(value)
        raise self.bad(name, value, "must be the path of a folder")

    def choice(self, name: str, *variables: str, allowed: tuple[str, ...]) -> Any:
        """One of ``allowed``, or None when the setting isn't given."""
        value = self.get(name, *variables)
        if value is None:
            return None
        known = str(value).lower()
        if known not in allowed:
            raise self.bad(name, value, f"must be one of {', '.join(allowed)}")
        return known

    def level(self, name: str) -> int | None:
        """A level of `logging`, by name or number, or None when it isn't given."""
        value = self.get(name)
        if value is None:
            return None
        names, text = logging.getLevelNamesMapping(), str(value).upper()
        number = names.get(text, int(text) if text.isdecimal() else None)
        if number is None:
            known = ", ".join(sorted(names, key=lambda each: (names[each], each)))
            raise self.bad(name, value, f"must be a level of logging: {known}")
        return number

    def preference(self, name: str, variable: str, allowed: tuple[str, ...]) -> Any:
        """One of ``allowed``, by default the first."""
        return self.choice(name, variable, allowed=allowed) or allowed[0]


def load(
    arguments: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str],
    directory: Path | None = None,
) -> Settings:
    """Work the settings out; nothing is started and nothing is changed.

    Without any endpoint, and without ``otlp`` asked for by name, telemetry goes
    to the local store alone.

    Raises:
        ConfigurationError: With the setting, its value and where it comes from.
    """
    file, file_name = _read_file(directory)
    sources = _Sources(arguments or {}, environ, file, file_name)
    traces = _signal("traces", sources)
    metrics = _signal("metrics", sources)
    logs = sources.level("logs")
    log_records = _signal("logs", sources, wanted=logs is not None)
    sends = "otlp" in (traces.exporter, metrics.exporter)
    kept = sources.folder("store", default=None if sends else Path(STORE))
    kept = None if str(kept) == "none" else kept
    spool = (kept or Path(STORE)) / "spool"
    settings = Settings(
        enabled=not sources.boolean("disabled", "OTEL_SDK_DISABLED", default=False),
        service_name=sources.text("service_name", "OTEL_SERVICE_NAME") or "",
        traces=traces,
        metrics=metrics,
        logs=logs,
        log_records=log_records,
        store=kept,
        slow=sources.seconds("slow") if sources.get("slow") is not None else None,
        keep_rate=sources.whole("keep_rate", default=100),
        spool=sources.folder("spool", default=spool) or spool,
        spool_bytes=sources.whole("spool_bytes", default=256 * 1024 * 1024),
        shutdown_timeout=sources.seconds("shutdown_timeout", default=5.0),
        loop_threshold=sources.seconds("loop_threshold", default=0.1),
        summary=sources.choice("summary", allowed=get_args(Told)) or "auto",
        origins=sources.origins,
        **_of_metrics(sources),
        **_of_logs(sources),
    )
    if unknown := sorted(file.keys() - sources.origins.keys()):
        raise ConfigurationError(
            f"{file_name}: {', '.join(unknown)}: no such setting; there are "
            f"{', '.join(sorted(sources.origins))}"
        )
    return settings


def _of_metrics(sources: _Sources) -> dict[str, Any]:
    """How metrics are made, and where they can be had."""
    return {
        "temporality": sources.preference(
            "temporality",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            get_args(Temporality),
        ),
        "histograms": sources.preference(
            "histograms",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            get_args(Histograms),
        ),
        "exemplars": sources.preference(
            "exemplars", "OTEL_METRICS_EXEMPLAR_FILTER", get_args(Exemplars)
        ),
        "metric_interval": sources.seconds(
            "metric_interval", "OTEL_METRIC_EXPORT_INTERVAL", default=15, unit=0.001
        ),
        "prometheus_host": sources.text(
            "prometheus_host", "OTEL_EXPORTER_PROMETHEUS_HOST"
        )
        or "localhost",
        "prometheus_port": sources.whole(
            "prometheus_port", "OTEL_EXPORTER_PROMETHEUS_PORT", default=9464
        ),
    }


def _of_logs(sources: _Sources) -> dict[str, Any]:
    """How log records are handed over."""
    return {
        "log_delay": sources.seconds(
            "log_delay", "OTEL_BLRP_SCHEDULE_DELAY", default=1.0, unit=0.001
        ),
        "log_batch": sources.whole(
            "log_batch", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", default=512
        ),
        "log_queue": sources.whole(
            "log_queue", "OTEL_BLRP_MAX_QUEUE_SIZE", default=2048
        ),
    }


def _signal(
    signal: Signal, sources: _Sources, *, wanted: bool = True
) -> SignalSettings:
    upper = signal.upper()
    scraped = ("prometheus",) if signal == "metrics" else ()
    exporter = sources.choice(
        f"{signal}_exporter",
        f"OTEL_{upper}_EXPORTER",
        allowed=("otlp", "console", *scraped, "none"),
    )
    protocol = sources.choice(
        "protocol",
        f"OTEL_EXPORTER_OTLP_{upper}_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        allowed=("http/protobuf", "grpc"),
    )
    endpoint = sources.text(
        "endpoint",
        f"OTEL_EXPORTER_OTLP_{upper}_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    exporter = exporter if wanted else "none"
    if endpoint and exporter in (None, "otlp"):
        whole = sources.origins["endpoint"].endswith(f"_{upper}_ENDPOINT")
        speaks = protocol or "http/protobuf"
        fault = endpoint_fault(endpoint, signal, protocol=speaks, whole=whole)
        if fault:
            raise sources.bad("endpoint", shown(endpoint), fault)
    origins = {name: sources.origins[name] for name in ("protocol", "endpoint")}
    if exporter is None:
        exporter = "otlp" if endpoint else "none"
    ours = not sources.origins["endpoint"].startswith("OTEL_")
    return SignalSettings(
        exporter=exporter,
        protocol=protocol or "http/protobuf",
        endpoint=endpoint if endpoint and ours else None,
        origins=origins,
    )


def here() -> Path | None:
    """The working directory; None where it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _read_file(directory: Path | None) -> tuple[Mapping[str, Any], str]:
    if directory is None:
        return {}, ""
    for name, inside in (("spanrun.toml", ()), ("pyproject.toml", ("tool", "spanrun"))):
        try:
            table: Any = tomllib.loads((directory / name).read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            if name == "pyproject.toml":
                continue  # somebody else's file, and their own tools tell them
            raise ConfigurationError(
                f"{directory / name}: {error}: correct it, or move it away"
            ) from error
        for key in inside:
            table = table.get(key, {})
        if table:
            return cast("Mapping[str, Any]", table), name
    return {}, ""
