"""Data larger than memory, in shards: files that are read in turn, unit by unit, in an order of their own."""
