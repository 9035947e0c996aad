"""Copies of an environment: made again from its arguments, since a simulation cannot be copied."""

from __future__ import annotations

from typing import Any, Self

from metarobot.envs.tasks import Tasks


class MadeAgain:
    """``copy``, ``deepcopy`` and ``pickle`` make a new environment with the same arguments.

    It holds the same tasks, but neither the episode nor the random numbers of the first: a copy
    made within an episode does not go on with it, and refuses to step before it is reset.
    """

    tasks: Any
    spec: Any
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, also those of a subclass with a constructor of its own."""
        env = super().__new__(cls)
        env._made_with = args, kwargs
        return env

    def __reduce__(self) -> tuple[Any, ...]:
        tasks = {name: self.tasks[name] for name in self.tasks.names}
        return _make_again, (type(self), *self._made_with, tasks, self.spec)


def _make_again(
    env_class: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tasks: Any, spec: Any
) -> Any:
    env = env_class(*args, **kwargs)
    env.set_tasks(Tasks(tasks))
    if spec is not None:
        env.spec = spec
    return env
