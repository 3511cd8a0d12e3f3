"""How fast, compared with what, and how close to the limit: measured so that a sceptic believes it."""
