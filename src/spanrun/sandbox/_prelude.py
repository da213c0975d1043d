"""What the sandbox runs before the code, in its own dialect of Python.

The code can neither name these functions nor change what they use: private names
are refused in it, and the built-ins are bound here, before it runs.

What comes back is measured inside, before it crosses into this process: there a
list that contains itself, or a thousand times the same list, costs nothing; and a
function would cross as a text.
"""

from typing import Final

TOO_MUCH: Final = "too much"

PRELUDE: Final = """
import collections as _col
import datetime as _dt
import decimal as _dec
_locals = locals
_big = 10**4300

def _why(
    root, most,
    _isinstance=isinstance, _len=len, _str=str, _type=type,
    _texts=(str, bytes), _many=(list, tuple, set, frozenset, _col.deque),
    _dict=dict,
    _flat=(bool, float, complex, _dt.date, _dt.time, _dt.timedelta, _dt.timezone),
    _int=int, _decimal=_dec.Decimal, _big=_big,
):
    todo = [root]
    size = 0
    while todo:
        value = todo.pop()
        size += 1
        if _isinstance(value, _texts):
            size += _len(value)
        elif value is None or _isinstance(value, _flat):
            pass
        elif _isinstance(value, _int):
            if not -_big < value < _big:
                return "too much"
        elif _isinstance(value, _decimal):
            size += _len(_str(value))
        elif _isinstance(value, _dict):
            size += _len(value)
            if size <= most:
                todo.extend(value.keys())
                todo.extend(value.values())
        elif _isinstance(value, _many):
            size += _len(value)
            if size <= most:
                todo.extend(value)
        else:
            return _type(value).__name__
        if size > most:
            return "too much"
    return ""

def _give(value, most, _why=_why):
    why = _why(value, most)
    return (why, None if why else value)

def _take(bound, names, most, _why=_why):
    kept = {}
    for name in names:
        if name in bound:
            why = _why(bound[name], most)
            if why == "too much":
                return (why, {})
            if not why:
                kept[name] = bound[name]
    why = _why(kept, most)
    return (why, {} if why else kept)
"""
