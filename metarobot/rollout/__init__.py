"""Collects episodes."""
