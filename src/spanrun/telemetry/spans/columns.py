"""`Columns`: attributes of a known shape, kept as a bare tuple of values."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from spanrun.telemetry.span.plain import clean
from spanrun.telemetry.span.wire import (
    IS_SMALL,
    SMALL,
    double_prefix,
    int_prefixes,
    key_value,
    varint,
)

_TAG: Final = b"\x4a"  # Span.attributes
_MAX_KNOWN: Final = 1_024


class Columns:
    """The attributes that all spans of one kind have, with their types.

    A span keeps only its tuple of values, in the order of the columns: first
    those of few distinct values, then the integers, then the floats. Encoding
    it is one look-up for the first, a look-up for each integer and one
    `struct.pack` for all floats together: a third of what a dict takes.

    Args:
        few: Columns of few distinct values, each always of the same type.
        ints: Columns of ``int``.
        floats: Columns of ``float``.

    Attributes:
        few: The number of the first ones.
        keys: All of them, in order.
        names: The same as a set.

    Example:
        >>> columns = Columns(few=("kind",), ints=("index",), floats=("seconds",))
        >>> columns.as_dict(("job", 7, 0.5))
        {'kind': 'job', 'index': 7, 'seconds': 0.5}
    """

    __slots__ = ("_ints", "_known", "_pack", "_template", "few", "keys", "names")

    def __init__(
        self,
        *,
        few: Sequence[str] = (),
        ints: Sequence[str] = (),
        floats: Sequence[str] = (),
    ) -> None:
        self.keys: Final = (*few, *ints, *floats)
        self.names: Final = frozenset(self.keys)
        self.few: Final = len(few)
        self._ints: Final = [int_prefixes(_TAG, key) for key in ints]
        prefixes = [double_prefix(_TAG, key) for key in floats]
        form = "".join(f"{len(prefix)}sd" for prefix in prefixes)
        self._pack: Final = struct.Struct(f"<{form}").pack
        self._template: Final[list[Any]] = [
            part for prefix in prefixes for part in (prefix, 0.0)
        ]
        self._known: Final[dict[tuple[Any, ...], bytes]] = {}

    def as_dict(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The attributes that ``values`` stand for."""
        return dict(zip(self.keys, values, strict=True))

    def encode_few(self, values: tuple[Any, ...], parts: list[bytes]) -> None:
        """Append those of few distinct values, as attributes of an OTLP span.

        Raises:
            Exception: A value isn't what its column says.
        """
        few = values[: self.few]
        parts.append(self._known.get(few) or self._learn(few))

    def encode_numbers(self, values: tuple[Any, ...], parts: list[bytes]) -> None:
        """Append the others. Raises what `encode_few` does."""
        at = self.few
        for prefixes in self._ints:
            number: int = values[at]
            digits = SMALL[number] if 0 <= number < IS_SMALL else varint(number)
            parts.append(prefixes[len(digits)] + digits)
            at += 1
        if self._template:
            row = self._template[:]
            row[1::2] = values[at:]
            parts.append(self._pack(*row))

    def _learn(self, few: tuple[Any, ...]) -> bytes:
        encoded = b"".join(
            key_value(_TAG, key, clean(value))
            for key, value in zip(self.keys, few, strict=False)
        )
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[few] = encoded
        return encoded
