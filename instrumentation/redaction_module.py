r"""The rules of redaction for the compiled part, from `spanrun.secret_forms`.

A pattern is the same in both languages but for what a class of characters is: here
`\s` is the white space of Unicode, all other classes and the case of letters are
ASCII's, and what is negated takes whole characters. No pattern has a
bound of many repetitions, as each is a copy of what is repeated, to be compiled: what
keeps a search from taking long is how much of the text a rule looks at.
"""

import re
from collections.abc import Iterable

from spanrun import secret_forms as forms
from spanrun import secret_words as words

_TOKEN = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|.", re.DOTALL)
_INSIDE = re.compile(r"\\.|.", re.DOTALL)
_OUTSIDE = {
    r"\s": f"(?u:[{words.SPACES}])",
    r"\S": f"(?u:[^{words.SPACES}])",
    r"\W": "(?u:[^0-9A-Za-z_])",
    r"\Z": r"\z",
    ".": "(?u:.)",
}
_CLASSES = {r"\s": words.SPACES, r"\w": "0-9A-Za-z_", r"\d": "0-9"}


def render() -> str:
    """The text of ``rules.rs``, without its first line."""
    hints = {hint: number for number, hint in enumerate(forms.HINTS)}
    lines = [
        "//! What secrets look like: the rules of `spanrun.secret_forms`.",
        "",
        "use super::checks::Check;",
        "use super::search::Rule;",
        "",
        *_texts("HINTS", forms.HINTS),
        "/// The rules, which give their hints by number.",
        f"pub const RULES: [Rule; {len(forms.RULES)}] = [",
    ]
    for rule in forms.RULES:
        numbers = ", ".join(str(hints[hint]) for hint in rule.hints)
        also = ", ".join(map(_text, rule.also))
        lines += [
            "    Rule {",
            f"        hints: &[{numbers}],",
            f"        also: &[{also}],",
            f"        source: {_text(pattern(rule.source))},",
            f"        check: Check::{rule.check.title().replace('_', '')},",
            f"        before: {rule.before},",
            f"        after: {rule.after},",
            "    },",
        ]
    lines += ["];", ""]
    for name in ("WORDS", "PLACEHOLDER", "WITH_P"):
        lines += _texts(name, sorted(getattr(words, name)))
    for name in ("NO_SECRET", "COUNTED", "MIXED", "ENCODED"):
        lines.append(
            f"pub const {name}: &str = {_text(pattern(getattr(words, name)))};"
        )
    key = pattern(forms.KEY)
    lines.append(f"pub const SECRET_KEY: &str = {_text(key)};")
    lines.append(f"pub const HIDDEN: &str = {_text(words.HIDDEN)};")
    return "\n".join((*lines, ""))


def pattern(source: str) -> str:
    """``source`` in the syntax of Rust's ``regex``."""
    flags = re.match(r"\(\?([is]+)\)", source)
    body = source[flags.end() :] if flags else source
    head = f"(?{flags[1] if flags else ''}-u)"
    return head + "".join(_token(token) for token in _TOKEN.findall(body))


def _token(token: str) -> str:
    if token in _OUTSIDE:
        return _OUTSIDE[token]
    if token[0] == "[":
        inside = list(map(str, _INSIDE.findall(token)))
        written = "".join(_CLASSES.get(each, each) for each in inside)
        wide = token[1] == "^" or r"\s" in inside or not token.isascii()
        return f"(?u:{written})" if wide else written
    return token if token.isascii() else f"(?u-i:{token})"


def _texts(name: str, texts: Iterable[str]) -> list[str]:
    each = list(map(_text, texts))
    return [f"pub const {name}: &[&str] = &[", *(f"    {text}," for text in each), "];"]


def _text(text: str) -> str:
    return f'r#"{text}"#' if '"' in text or "\\" in text else f'"{text}"'
