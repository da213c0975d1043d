"""Where documents are kept and searched: `base.VectorStore` and what is behind it."""
