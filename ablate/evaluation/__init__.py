"""FID, KID, precision and recall (evaluate.py computes them), and the networks that turn images into features."""
