"""The proof that a backend computes what it should: a float64 oracle, bounds, and faults that must be found."""
