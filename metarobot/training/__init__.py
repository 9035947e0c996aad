"""Training of runs, and their folders."""
