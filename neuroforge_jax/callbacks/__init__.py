"""What happens beside the steps of a run: each a callback of its own."""
