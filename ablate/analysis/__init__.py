"""Records as data frames: comparisons, the verdict on each claim (verdicts.py), which seeds come next."""
