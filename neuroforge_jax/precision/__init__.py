"""Which dtype each number has: policies, and the doors at which a cast may happen."""
