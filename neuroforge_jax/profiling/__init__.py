"""Where time and memory go: a profiler of single functions, the parts of a step, the memory of programs, traces."""
