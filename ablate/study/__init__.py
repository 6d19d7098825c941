"""Optuna over the fields of a recipe; importance of ingredients. Only this folder imports optuna."""
