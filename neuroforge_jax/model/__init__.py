"""Everything between a sample as it is stored and its logits, and how that is saved."""
