"""The tables of what was measured, each a function of the records in benchmarks/."""
