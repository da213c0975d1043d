"""The local store: what happened, recorded compactly, and one reader of it."""
