"""Recordings of machines and their faults, simulated or read from a folder, and remaining life.

A *health check* is one fixed motion of the simulated arm.  A *recording* holds the readings of a
machine's sensors during one.  A *fault* changes the machine by a severity.
"""

from metarobot.machine import extra

with extra("train", "diagnosis"):
    import pandas  # noqa: F401
    import sklearn  # noqa: F401
