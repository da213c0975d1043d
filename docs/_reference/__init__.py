"""The parts of `docs/_generate.py`: one page a file."""
