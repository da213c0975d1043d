"""The page that shows what was recorded, as one HTML file that needs no server."""
