"""One HTML file that shows a recording: the built page, and the data in it."""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, Final

from spanrun.text import inert
from spanrun.view.data import packed

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<div id="page"><noscript>This page needs JavaScript.</noscript></div>
<script type="application/octet-stream" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def html_of(data: dict[str, Any]) -> str:
    """The page with ``data`` in it, which loads nothing from anywhere.

    Its policy allows the one script and the one style that are in it, by their hashes,
    and nothing else.
    """
    command = inert(data["session"]["command"]) or "recording"
    title = escape(f"spanrun · {command}"[:200])
    return _filled(title=title, data=packed(data), policy=_policy())


def served() -> tuple[str, str]:
    """The page that asks its server for the data, and its policy."""
    policy = _policy() + "; connect-src 'self'"
    page = _filled(title="spanrun", data="", policy=policy)
    return page, policy + "; frame-ancestors 'none'"


def write(data: dict[str, Any], path: Path) -> int:
    """Write the page to ``path``, whole or not at all; over a file that is there.

    Returns:
        Its size in bytes.

    Raises:
        OSError: It can't be written, such as over a folder.
    """
    content = html_of(data).encode("utf-8", "backslashreplace")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return len(content)


def _filled(**given: str) -> str:
    return _PAGE.format(script=_built("page.js"), style=_built("page.css"), **given)


def _policy() -> str:
    script, style = _hash(_built("page.js")), _hash(_built("page.css"))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; "
        "base-uri 'none'; form-action 'none'"
    )


def _built(name: str) -> str:
    """A part of the page that `make viewer` has built."""
    return Path(__file__).with_name(name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
