"""Records as data frames: comparisons, verdicts, which seeds come next."""
