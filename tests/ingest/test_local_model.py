import logging
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.waiting import PATIENCE

from spanrun.errors import ConfigurationError, EmbeddingError
from spanrun.ingest import local_model as local
from spanrun.ingest.local_model import _load

TEXTS = ["A cat sleeps.", "The kitten naps.", "Interest rates rose."]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_vectors_have_the_length_one_and_the_dimension_that_is_promised():
    vectors = local.embed(TEXTS)
    assert [len(vector) for vector in vectors] == [local.DIMENSION] * 3
    assert all(math.isclose(math.hypot(*v), 1, abs_tol=1e-6) for v in vectors)
    assert all(type(number) is float for number in vectors[0])


def test_what_means_the_same_is_near():
    cat, kitten, rates = local.embed(TEXTS)
    assert dot(cat, kitten) > dot(cat, rates) + 0.2


def test_the_vectors_are_those_of_the_package_itself():
    texts = [*TEXTS, "word " * 500, "Grüße, 世界 🎉"]
    _load().tokenizer.enable_padding()
    try:
        theirs = _load().embed(texts, norm=True).tolist()
    finally:
        _load().tokenizer.no_padding()
    for ours, their in zip(local.embed(texts), theirs, strict=True):
        assert ours == pytest.approx(their, abs=1e-6)


def test_a_vector_depends_on_its_text_alone():
    together = local.embed([*TEXTS, "word " * 500])
    assert [local.embed([text])[0] for text in TEXTS] == together[:3]


def test_no_texts_give_no_vectors():
    assert local.embed([]) == []


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_refused_and_told_by_its_place(text):
    with pytest.raises(EmbeddingError, match="text 1 of 2 is empty"):
        local.embed(["a", text])


def test_one_text_in_place_of_a_list_is_refused():
    with pytest.raises(EmbeddingError, match="got one text"):
        local.embed("abc")


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\u200b", ".", "\U0010ffff"])
def test_odd_characters_give_finite_vectors(text):
    (vector,) = local.embed([text])
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-6)


def test_tokens_are_counted():
    assert local.count("") == 0
    assert local.embed_counted(TEXTS)[1] == sum(map(local.count, TEXTS)) > 8


def test_a_text_longer_than_a_piece_is_read_to_its_end():
    text = "one two three " * 10_000
    whole = _load().tokenizer.encode_batch_fast([text], add_special_tokens=False)
    assert local.count(text) == pytest.approx(len(whole[0].ids), abs=3)
    assert local.embed([text])[0] != local.embed([text[:65_536] + "cat " * 9000])[0]
    assert local.count("x" * 200_000) > 40_000  # no place to cut it


def test_the_model_is_loaded_once_for_all_threads(monkeypatch):
    loads = []

    class Package:
        __file__ = __file__

        class WordLlama:
            @staticmethod
            def load(**_):
                loads.append(threading.get_ident())
                return _model

    _model = _load()
    local._load_once.cache_clear()
    monkeypatch.setattr(local.extras.importlib, "import_module", lambda _: Package)
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(local.embed, [TEXTS] * 32))
    assert len(loads) == 1
    assert all(v == vectors[0] for v in vectors)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordllama", None)
    local._load_once.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pip install 'spanrun\[ingest\]'"):
        local.embed(["a"])
    monkeypatch.undo()
    assert local.embed(["a"])


def test_loading_changes_no_logging_starts_no_thread_and_needs_no_network(tmp_path):
    program = """
import logging, os, socket, sys, threading
from spanrun.ingest import local_model
assert "wordllama" not in sys.modules and "numpy" not in sys.modules
def refuse(*a): raise AssertionError("network")
socket.socket.connect = refuse
root = logging.getLogger()
before = root.handlers[:], root.level
local_model.embed(["a cat"] * 200)
assert (root.handlers, root.level) == before, root.handlers
assert threading.active_count() == 1
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        env=environment,
        timeout=PATIENCE,
    )
    assert not list(tmp_path.iterdir())
    assert logging.getLogger().level == logging.WARNING
