"""Vectors without a network, from the model in wordllama's wheel.

A static model: a text's vector is the mean of its tokens' vectors, of length 1. It is
good for a demonstration, tests and small collections, and knows no word order.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from spanrun import extras
from spanrun.errors import EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME: Final = "wordllama-l2-256"
DIMENSION: Final = 256
EXTRA: Final = ("the local model", "wordllama")
"""What needs which module."""

_PIECE = 65_536  # characters; keeps memory flat on a text of any length
_loading = threading.Lock()


def load() -> None:
    """Load the model (16 MB, 0.2 s) now, not with the first use. Once a process.

    Raises:
        ConfigurationError: The extra ``ingest`` isn't installed.
    """
    _load()


def embed(texts: Sequence[str]) -> list[list[float]]:
    """One vector of length 1 for each text, in order; ``[]`` for none.

    Thread-safe. It blocks, without the interpreter lock for most of the time.

    Raises:
        EmbeddingError: A text is empty or blank: nothing has no direction, and
            a zero vector is near to nothing in no store. Services refuse it, too.
    """
    return embed_counted(texts)[0]


def embed_counted(texts: Sequence[str]) -> tuple[list[list[float]], int]:
    """Like `embed`, and how many tokens there were in all."""
    if isinstance(texts, str):
        raise EmbeddingError("embed(texts=…): wants a list of texts, got one text")
    blank = next((i for i, text in enumerate(texts) if not text.strip()), None)
    if blank is not None:
        raise EmbeddingError(
            f"text {blank} of {len(texts)} is empty: it can't be embedded"
        )
    model = _load()
    pooled = [_pool(model, text) for text in texts]
    return [vector for vector, _ in pooled], sum(tokens for _, tokens in pooled)


def count(text: str) -> int:
    """How many of the model's tokens ``text`` has: a ``count=`` for `split`."""
    model = _load()
    return sum(len(ids) for ids in _token_ids(model, text))


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _Tokenizer(Protocol):
    def no_padding(self) -> None: ...

    def encode_batch_fast(
        self, texts: list[str], *, add_special_tokens: bool
    ) -> list[_Encoding]: ...


class _Model(Protocol):
    """What is used of wordllama's inference object, which has no type hints."""

    tokenizer: _Tokenizer
    embedding: NDArray[np.float32]


def _load() -> _Model:
    with _loading:
        return _load_once()


@functools.cache
def _load_once() -> _Model:
    # The tokenizer's own threads outlive us, warn after a fork, and gain nothing
    # here (491 µs a text without them, 531 with them).
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        package = extras.load(*EXTRA)
    finally:
        # wordllama calls logging.basicConfig(level=INFO) when it is imported.
        root.handlers[:] = before
        root.setLevel(level)
    # It would look into a cache folder first, and then download.
    folder = Path(cast("str", package.__file__)).parent
    model = cast(
        "_Model", package.WordLlama.load(cache_dir=folder, disable_download=True)
    )
    model.tokenizer.no_padding()
    return model


def _pool(model: _Model, text: str) -> tuple[list[float], int]:
    """The mean of the tokens' vectors, normalised, and how many tokens there are.

    wordllama's own ``embed`` pads each text to the longest one: 79 chapters of the
    language reference took 3.8 s and 1 GB in it, 0.2 s and 20 MB here.
    """
    import numpy as np  # noqa: PLC0415 -- comes with the extra

    total = np.zeros(model.embedding.shape[1], np.float32)
    tokens = 0
    for ids in _token_ids(model, text):
        total += model.embedding[ids].sum(axis=0, dtype=np.float32)
        tokens += len(ids)
    norm = float(np.linalg.norm(total))
    if not norm:
        raise EmbeddingError(f"no token of this text has a meaning: {text[:40]!r}")
    # Eight decimals are what float32 has, and half the JSON of its 17 digits.
    unit = np.round(total.astype(np.float64) / norm, 8)
    return cast("list[float]", unit.tolist()), tokens


def _token_ids(model: _Model, text: str) -> Iterator[list[int]]:
    text = text.encode("utf-8", "replace").decode()  # it refuses lone surrogates
    start = 0
    while start < len(text):
        end = start + _PIECE
        space = text.rfind(" ", start + 1, end)
        if end < len(text) and space > 0:
            end = space  # between words, where there is a place
        # A batch of one: `encode` would hold the interpreter lock all the time.
        batch = model.tokenizer.encode_batch_fast(
            [text[start:end]], add_special_tokens=False
        )
        yield batch[0].ids
        start = end
