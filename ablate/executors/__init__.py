"""Where cells are computed: three methods, submit, ended and cancel."""
