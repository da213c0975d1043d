"""`OurMeterProvider`: the SDK's metrics, collected by us, without secrets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from spanrun.settings import Settings
from spanrun.telemetry.forks import tell_after_fork
from spanrun.telemetry.metric_pipe import Collector
from spanrun.telemetry.metrics import preferences
from spanrun.telemetry.redact import redact_attributes


class OurMeterProvider(MeterProvider):
    """The SDK's, with what collects from it.

    One is OpenTelemetry's, and stays it whatever is configured later: so the
    instruments of other libraries keep the temporality of the first `configure`.
    Another, for our own, is made by each `configure`.

    Credentials are taken out of the attributes before anything is aggregated, so
    what is one series without them is one series.
    """

    def __init__(self, resource: Resource, settings: Settings) -> None:
        self.collector: Final = Collector(
            preferences.temporality(settings.temporality),
            preferences.aggregation(settings.histograms),
        )
        super().__init__(
            [self.collector],
            resource,
            shutdown_on_exit=False,
            exemplar_filter=preferences.exemplar_filter(settings.exemplars),
        )
        self._redact()
        tell_after_fork(self)

    def after_fork(self) -> None:
        """In the child: count from zero, and wait for no lock that the parent held.

        The SDK does neither. What it counted so far is the parent's, and would be
        told once more by each child.
        """
        consumer: Any = self._measurement_consumer
        readers = list(consumer._reader_storages)  # noqa: SLF001 -- no other way
        fresh: Any = type(consumer)(self._sdk_config, readers)
        consumer._lock = fresh._lock  # noqa: SLF001
        consumer._reader_storages = fresh._reader_storages  # noqa: SLF001
        self._redact()

    def _redact(self) -> None:
        # Views can leave attributes out, and can't change them: there is no other way.
        consumer: Any = self._measurement_consumer
        for storage in consumer._reader_storages.values():  # noqa: SLF001
            storage.consume_measurement = _redacting(storage.consume_measurement)


def _redacting(consume: Callable[..., None]) -> Callable[..., None]:
    def consumed(measurement: Any, *rest: Any) -> None:
        given = measurement.attributes
        if given:
            clean = redact_attributes(given)
            if clean is not given:
                measurement = replace(measurement, attributes=clean)
        consume(measurement, *rest)

    return consumed
