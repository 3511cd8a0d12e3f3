"""Which dtype each number has, and where it may change."""
