"""The session's Solr."""

from tests.solr import solr_server, solr_url

__all__ = ["solr_server", "solr_url"]
