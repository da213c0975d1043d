"""Traces and metrics: from the one wrapper, by the one seam, to where they go."""
