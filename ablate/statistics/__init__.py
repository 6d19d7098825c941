"""Statistics for few seeds: paired tests, trends, corrections, bootstrap, power, and how a result is worded."""
