"""Outcomes of a run in a file, and the run that goes on from there after a kill."""
