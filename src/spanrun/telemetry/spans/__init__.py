"""Spans: started, recorded, chosen, encoded."""
