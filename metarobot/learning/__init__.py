"""The mathematics of meta-learning: inner loop, objectives and meta-updates."""
