"""Ways to run many steps: the same pure step, dispatched one by one or as one program."""
