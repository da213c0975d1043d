"""Whether there is a compiled part, and why not."""

import sys

from spanrun import accelerator


def test_it_says_what_its_build_said(monkeypatch, tmp_path):
    reason = tmp_path / "_core.missing.txt"
    monkeypatch.delenv("SPANRUN_PURE_PYTHON", raising=False)
    monkeypatch.setitem(sys.modules, "spanrun._core", None)
    monkeypatch.setattr(accelerator, "_reason", reason)
    core, why = accelerator._load()
    assert (core, why) == (None, "it was not compiled when spanrun was installed")
    reason.write_text("there is no cargo\n")
    assert accelerator._load() == (None, "there is no cargo")


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("SPANRUN_PURE_PYTHON", "1")
    assert accelerator._load() == (None, "SPANRUN_PURE_PYTHON is set")
