"""`resource_of`: what describes this process in all telemetry."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from spanrun import semconv
from spanrun.telemetry.redact import redact_attributes


def resource_of(
    service_name: str, failed: Callable[[Exception], object] = lambda _: None
) -> Resource:
    """What describes this process, without secrets: given attributes and a name.

    What a detector of somebody else raises is told to ``failed``.
    """
    try:
        given = Resource.create()
    except Exception as error:  # noqa: BLE001 -- a detector breaks no program
        failed(error)
        given = OTELResourceDetector().detect()
    attributes: dict[str, Any] = {
        semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()),
        **given.attributes,
    }
    name = str(given.attributes.get(semconv.SERVICE_NAME, ""))
    if service_name:
        attributes[semconv.SERVICE_NAME] = service_name
    elif not name or name.startswith("unknown_service"):
        attributes[semconv.SERVICE_NAME] = Path(sys.argv[0]).stem or "python"
    return Resource(dict(redact_attributes(attributes)), given.schema_url)
