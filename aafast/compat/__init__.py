"""Faces towards other packages and scripts; each is a module of its own, imported by name."""
