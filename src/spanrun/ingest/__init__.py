"""From files to a store: read, split, describe, embed."""
