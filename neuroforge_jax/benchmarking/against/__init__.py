"""The working tree against another commit: the same trainings by both, in turn, in processes of their own."""
