"""Adapts trained policies to robots, and acts on them."""
