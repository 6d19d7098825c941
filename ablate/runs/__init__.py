"""runs/<key>/: the files of a cell, its record, and the worker that computes it."""
