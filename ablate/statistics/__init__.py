"""What few seeds can show: paired comparisons, trends, corrections, bootstrap, power, and their wording."""
