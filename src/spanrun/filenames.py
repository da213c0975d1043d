"""Names of files as Unicode that is the same in every locale.

Python decodes the bytes of a name by the locale's encoding. A name in UTF-8 becomes
another text where that is ASCII or Latin-1, though it names the same file: whoever
keeps such a text, or gives it to a library that wants UTF-8, must not take it as it is.
"""

from __future__ import annotations

import os
import sys
import unicodedata

# There a file has one name, whether its accents are composed or not; a folder tells it
# as it was written, and a user types it composed.
_NORMALIZES = sys.platform == "darwin"


def unicode_name(path: str) -> str:
    """The name as UTF-8 says it; a byte that is no UTF-8 is a lone surrogate.

    A text that the locale's encoding can't spell, so that it names no file here, is
    returned as it is.
    """
    try:
        name = os.fsencode(path).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path
    return unicodedata.normalize("NFC", name) if _NORMALIZES else name


def local_name(name: str) -> str:
    """What Python's own functions call the file of a `unicode_name`."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))
