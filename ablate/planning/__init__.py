"""Experiment files: plan kinds, rows, cells and their keys, claims and the test of each kind."""
