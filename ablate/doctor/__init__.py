"""Twelve checks of a recipe before training starts."""
