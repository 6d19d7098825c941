"""Denoiser, loss, sampling, and the trainer as a generator of steps."""
