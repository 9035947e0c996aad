"""The one thread that simulates and draws: it carries out commands, and keeps the time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np

from metarobot.envs import TaskError
from metarobot.play.exchange import Command, Exchange
from metarobot.play.session import Motion, PlaySession
from metarobot.play.state import PlayState
from metarobot.reporting.filming import between

SLOW_MOTION = 2.0
"""How much slower than the world it runs, as films do."""
_MOST_FRAMES_PER_S = 30.0
_REST_S = 0.7
"""How long the end of an episode stays in view."""
_MOST_LATE_S = 0.5
"""How late it may be before it gives up catching up: then the world waits for the pictures."""
_UNSEEN_S = 12.0
"""Time after which it rests if nobody looks and no trial runs: a browser's request waits less."""
_RATE_OF = 20
"""Pictures that the frame rate is measured over."""


class Screen(ABC):
    """Where the simulations are seen."""

    @abstractmethod
    def draw(self, session: PlaySession) -> None:
        """Draw the simulations that the session shows, as they are now."""

    def is_open(self) -> bool:
        """Return whether it has not been closed; a browser need not say."""
        return True

    def close(self) -> None:  # noqa: B027
        """Close it; nothing is to be done unless a screen says so."""


class PlayLoop:
    """Runs a session until it is asked to stop.

    Args:
        session: What is played.
        screen: Where it is seen.
        exchange: Where commands come from, and where the state goes.
        stopped: Asked again and again whether to end.
        tend: Called again and again, between control steps.
    """

    def __init__(
        self,
        session: PlaySession,
        screen: Screen,
        exchange: Exchange,
        stopped: Callable[[], bool],
        tend: Callable[[], None] = lambda: None,
    ) -> None:
        self._session, self._screen, self._exchange = session, screen, exchange
        self._stopped = lambda: stopped() or not screen.is_open()
        self._tend, self._clock_s = tend, time.monotonic()
        self._drawn_s: deque[float] = deque(maxlen=_RATE_OF)

    def run(self) -> None:
        """Play until it is asked to stop."""
        self._publish()
        while not self._stopped():
            self.carry_out()
            self._tend()
            if self._exchange.seconds_unseen() > _UNSEEN_S and not self._session.trying:
                self._drawn_s.clear()
                self._exchange.wait(0.2)
                continue
            self._show(self._session.advance())

    def carry_out(self) -> None:
        """Carry out the commands that wait, in their order; a trial runs to its end first."""
        done = False
        while not self._session.trying and (command := self._exchange.next_command()):
            if command.action == "adapt":
                self._publish(adapting=True)
            self._do(command)
            done = True
        if done:
            self._clock_s = time.monotonic()
            self._publish()

    def _do(self, command: Command) -> None:
        session = self._session
        try:
            if command.action == "task":
                session.set_task(command.values)
            elif command.action == "try":
                session.try_once()
            elif command.action == "adapt":
                session.adapt()
            else:
                session.forget()
        except TaskError as error:
            session.refuse(str(error))

    def _publish(self, adapting: bool = False) -> None:
        """Tell everybody who waits what the state is."""
        told = Told(
            state=self._session.state,
            waiting=self._exchange.count_waiting("try"),
            frames_per_s=self._rate(),
            pictures=tuple(self._session.pictures),
            adapting=adapting,
        )
        self._exchange.state.put(msgspec.json.encode(told))

    def _rate(self) -> float:
        """Return how many pictures a second were drawn of late."""
        if len(self._drawn_s) < 2:
            return 0.0
        return (len(self._drawn_s) - 1) / max(self._drawn_s[-1] - self._drawn_s[0], 1e-6)

    # Time.

    def _show(self, motion: Motion) -> None:
        """Let a motion pass before the eyes: as many pictures as there is time for."""
        step_s = self._session.env.control_dt_s * SLOW_MOTION
        for before, after in pairwise(motion.path):
            self._pass(before, after, step_s)
        if len(motion.path) == 1 or motion.ended:
            self._draw(motion.path[-1])
        self._publish()  # not before what it tells of has been seen
        if motion.ended:
            self._exchange.wait(_REST_S)
            self._clock_s = time.monotonic()

    def _pass(self, before: np.ndarray, after: np.ndarray, duration_s: float) -> None:
        """Draw the way from one configuration (2, nq) to the next, if there is time.

        Where a command can be carried out at once, the rest of the way is not waited for.
        """
        if self._exchange.is_waiting() and not self._session.trying:
            return
        env = self._session.env
        began_s = self._clock_s
        self._clock_s += duration_s
        while (now_s := time.monotonic()) < self._clock_s:
            share = min(1.0, max(0.0, (now_s - began_s) / duration_s))
            self._draw(
                np.stack([between(env, *pair, share) for pair in zip(before, after, strict=True)])
            )
            next_s = min(self._clock_s, now_s + 1.0 / _MOST_FRAMES_PER_S)
            time.sleep(max(0.0, next_s - time.monotonic()))
        self._clock_s = max(self._clock_s, now_s - _MOST_LATE_S)

    def _draw(self, configuration: np.ndarray) -> None:
        """Draw the simulations in configurations (2, nq), and leave them as they were."""
        qpos = self._session.env.batch.bind("qpos")
        kept = qpos.copy()
        qpos[:] = configuration
        self._screen.draw(self._session)
        qpos[:] = kept
        self._drawn_s.append(time.monotonic())


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is told: the state, and what only the loop knows."""

    state: PlayState
    waiting: int
    """Trials that wait for those before."""
    frames_per_s: float
    """Pictures drawn a second."""
    pictures: tuple[int, ...]
    """Simulations that are drawn now."""
    adapting: bool
    """Whether it adapts now: nothing moves meanwhile."""
