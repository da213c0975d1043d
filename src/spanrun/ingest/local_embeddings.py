"""`LocalEmbeddings`: vectors without a network, from the model in wordllama's wheel."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from spanrun.errors import ConfigurationError, EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE = 65_536  # characters; keeps memory flat on a text of any length
_loading = threading.Lock()


class LocalEmbeddings:
    """A static embedding model: the mean of its tokens' vectors, of length 1.

    Good for a demonstration, tests and small collections; it knows no word order.
    Nothing is downloaded. The model (16 MB, 0.2 s) is loaded with the first use,
    once for the whole process. Thread-safe; calls block, without the interpreter
    lock for most of the time.

    Attributes:
        model: The model's name, ``"wordllama-l2-256"``.
        dimension: How many numbers a vector has, 256.

    Raises:
        ConfigurationError: At first use: the extra ``ingest`` isn't installed.
    """

    model = "wordllama-l2-256"
    dimension = 256

    def load(self) -> None:
        """Load the model now, not with the first use."""
        _load()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in order; ``[]`` for none.

        Raises:
            EmbeddingError: A text is empty or blank: nothing has no direction, and
                a zero vector is near to nothing in no store. Services refuse it, too.
        """
        return self.embed_counted(texts)[0]

    def embed_counted(self, texts: Sequence[str]) -> tuple[list[list[float]], int]:
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

    def count(self, text: str) -> int:
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
        package = importlib.import_module("wordllama")
    except ImportError as error:
        raise ConfigurationError(
            "local embeddings need wordllama: pip install 'spanrun[ingest]'"
        ) from error
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
