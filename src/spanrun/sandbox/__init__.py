"""Run code that nobody has read: `safe_eval`, `safe_exec` and their async twins."""

from spanrun.sandbox._calls import asafe_eval, asafe_exec, safe_eval, safe_exec
from spanrun.sandbox._limits import IMPORTS, Limits

__all__ = [
    "IMPORTS",
    "Limits",
    "asafe_eval",
    "asafe_exec",
    "safe_eval",
    "safe_exec",
]
