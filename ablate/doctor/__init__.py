"""Twelve checks of a recipe before compute is spent."""
