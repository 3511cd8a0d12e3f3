"""How good predictions are: a table of metrics, from targets and outputs on the host. NumPy alone."""
