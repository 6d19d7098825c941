"""Estimates of hours, memory and FLOPs before training starts, and a benchmark of training on this machine."""
