"""What is written can be read: contrasts of the page's palette, by WCAG 2.2."""

import re
from pathlib import Path

import pytest

from spanrun.semconv import SPANRUN_JOB_PHASE_VALUES as PHASES

STYLE = Path(__file__).parents[2] / "viewer/src/style.css"
THEMES = {"light": ":root", "dark": ':root[data-theme="dark"]'}
TEXT = ("ink", "ink2", "ink3", "accent", "bad", "good")
GROUNDS = ("ground", "card", "selected")
LEAST = 4.5
"""Contrast of text of ordinary size (WCAG 2.2, 1.4.3)."""


def _palette(theme: str) -> dict[str, str]:
    css = STYLE.read_text("utf-8")
    found: dict[str, str] = {}
    for name, selector in THEMES.items():
        (block,) = re.findall(
            rf"^{re.escape(selector)} {{(.*?)}}", css, re.MULTILINE | re.DOTALL
        )
        found |= re.findall(r"--([\w-]+): (#\w+)", block)
        if name == theme:
            break
    return found


def _luminance(colour: str) -> float:
    digits = colour[1:]
    if len(digits) == 3:
        digits = "".join(2 * each for each in digits)
    parts = [int(digits[each : each + 2], 16) / 255 for each in (0, 2, 4)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_a_phase_s_label_can_be_read_on_its_bar(theme: str) -> None:
    palette = _palette(theme)
    poor = {
        phase: contrast
        for phase in PHASES
        if (contrast := _contrast(palette[phase], palette[f"on-{phase}"])) < LEAST
    }
    assert not poor


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_on_every_ground(theme: str) -> None:
    palette = _palette(theme)
    poor = {
        (text, ground): contrast
        for text in TEXT
        for ground in GROUNDS
        if (contrast := _contrast(palette[text], palette[ground])) < LEAST
    }
    assert not poor
