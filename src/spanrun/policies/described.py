"""`described`: policies as JSON, such that a recorded run tells what it ran under."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def described(policies: Mapping[str, object]) -> str:
    """Return ``policies`` as an object of JSON; those that are None are left out.

    A policy is an object with the name of its class as ``type``, and its parameters. A
    class or a function is its qualified name, infinity the text ``inf``.

    Example:
        >>> described({"limit": Limit(2), "rate": None})
        '{"limit":{"type":"Limit","concurrency":2,"ageing":1.0}}'
    """
    given = {name: _plain(value) for name, value in policies.items()}
    known = {name: value for name, value in given.items() if value is not None}
    return json.dumps(known, separators=(",", ":"))


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, tuple | list):
        every: list[Any] = [*value]
        return [_plain(each) for each in every]
    if is_dataclass(value) and not isinstance(value, type):
        parameters = {each.name: getattr(value, each.name) for each in fields(value)}
        plain = {name: _plain(each) for name, each in parameters.items()}
        return {"type": type(value).__name__, **plain}
    named: Any = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
