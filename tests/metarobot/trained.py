"""Whom the small runs of the tests hold."""

TRAINED = ("maml", "domain_randomisation", "oracle")
"""A learner that adapts by gradient steps, and the two references."""
