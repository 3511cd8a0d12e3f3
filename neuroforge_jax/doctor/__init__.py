"""What this machine has, and what would make training faster on it."""
