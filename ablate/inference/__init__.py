"""Using a finished cell: sampling, editing, export, the best intermediate sigma."""
