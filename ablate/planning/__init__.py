"""Experiment files: plan kinds, rows, cells and their keys, claims."""
