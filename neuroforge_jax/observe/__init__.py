"""What can be seen of a run: sinks for its events, memory, and the machine's measured ceiling."""
