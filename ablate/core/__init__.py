"""Registry of options, errors, files, YAML, hardware, random streams: used by all other folders."""
