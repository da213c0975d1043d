"""Rules as the text of a Prometheus rule file.

Written by hand rather than by PyYAML: each expression stands in a block as it is,
so that people can read it, and any text is a JSON string, which is YAML too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spanrun.slo.rules import Rule


def rule_file(groups: Mapping[str, Any], heading: Sequence[str] = ()) -> str:
    """The text of these groups, below the lines of ``heading`` as a comment."""
    lines = [f"# {line}" for line in heading]
    lines.append("groups:")
    for group in groups["groups"]:
        lines.append(f"  - name: {_quoted(group['name'])}")
        lines.append(f"    interval: {group['interval']}")
        lines.append("    rules:")
        for rule in group["rules"]:
            lines.extend(_rule(rule))
    return "\n".join([*lines, ""])


def _rule(rule: Rule) -> Iterator[str]:
    kind = "record" if "record" in rule else "alert"
    yield f"      - {kind}: {rule[kind]}"
    yield "        expr: |-"
    for line in rule["expr"].split("\n"):
        yield f"          {line}"
    if "for" in rule:
        yield f"        for: {rule['for']}"
    for part in ("labels", "annotations"):
        if part in rule:
            yield f"        {part}:"
            for name, value in rule[part].items():
                yield f"          {name}: {_quoted(value)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
