"""The oracle: what is possible for one policy that is told the task."""

from metarobot.algorithms.domain_randomisation import DomainRandomisation


class Oracle(DomainRandomisation):
    """Domain randomisation that observes the task parameters."""

    title = "oracle"
    observes_task = True
