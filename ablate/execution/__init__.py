"""Where cells are computed: executors, the scheduler in front of them, progress."""
