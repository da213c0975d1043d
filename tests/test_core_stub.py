"""`spanrun._core.pyi` declares what the compiled part has."""

import ast
from pathlib import Path

import pytest

import spanrun
from spanrun.accelerator import WHY_NOT, core

STUB = Path(spanrun.__file__).with_name("_core.pyi")


def _declared(body):
    """The names in ``body``, and for classes those of their members, too."""
    members = {}
    for each in body:
        match each:
            case ast.ClassDef(name=name):
                own = _declared(each.body)
                for base in each.bases:
                    own |= members.get(ast.unparse(base), {})
                members[name] = own
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                members[name] = {}
    return members


@pytest.mark.skipif(core is None, reason=f"nothing is compiled: {WHY_NOT}")
def test_the_stub_declares_all_that_is_there():
    declared = _declared(ast.parse(STUB.read_text("utf-8")).body)
    missing = [
        f"{name}.{member}"
        for name, found in vars(core).items()
        if not name.startswith("__")
        for member in ("", *(vars(found) if isinstance(found, type) else ()))
        if not member.startswith("__")
        and (name not in declared or (member and member not in declared[name]))
    ]
    assert missing == []
