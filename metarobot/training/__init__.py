"""Trains runs, and keeps what they learn in run folders."""
