"""Pages and pictures: of runs from their folders, of benchmarks from their records."""
