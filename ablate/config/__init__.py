"""Recipe (one option per axis) and profile (data and budget), read from YAML."""
