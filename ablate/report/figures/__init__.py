"""One module per figure: a subclass of `ablate.report.figure.Figure`."""
