"""`OUR_SCOPE`: whose spans and metrics spanrun's own are."""

from __future__ import annotations

from typing import Final

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spanrun import __version__
from spanrun.telemetry.units.otel import SCOPE

OUR_SCOPE: Final = InstrumentationScope(SCOPE, __version__)
