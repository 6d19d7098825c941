"""Images: built-in sets, archives, folders."""
