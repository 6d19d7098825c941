"""runs/<key>/: one computed cell, its files, its record, and the worker that computes it."""
