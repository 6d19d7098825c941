"""Running the cells: executors, progress, and scheduler.py, which assigns workers and restarts crashed ones."""
