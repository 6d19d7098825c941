"""FID, KID, precision and recall, and the networks that turn images into features."""
