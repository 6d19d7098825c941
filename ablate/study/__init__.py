"""Optuna over the fields of a recipe; importance of ingredients. The only room that imports optuna."""
