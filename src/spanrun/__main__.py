"""``python -m spanrun``: the same as the command ``spanrun``."""

from spanrun.cli import main

main()
