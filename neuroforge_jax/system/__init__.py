"""The host: what it is, what it tells, where time goes."""
