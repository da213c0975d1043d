"""The Grafana dashboards, as code: `build.py` writes them to `json/`."""
