"""Measures adaptation on held-out tasks."""
