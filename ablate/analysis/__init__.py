"""Records as data frames: statistics, comparisons, verdicts, which seeds come next."""
