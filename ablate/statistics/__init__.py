"""Statistics for few seeds: tests, trends, corrections, bootstrap, power, and how a result is worded."""
