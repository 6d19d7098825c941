"""Weights of other projects: read without running their code, converted into ours and back."""
