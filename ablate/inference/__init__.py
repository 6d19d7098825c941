"""A finished cell in use: sampling, editing, export, the best second noise level."""
