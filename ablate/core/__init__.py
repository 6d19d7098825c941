"""Registry of options, errors, files, YAML, hardware, random streams: what everything else stands on."""
