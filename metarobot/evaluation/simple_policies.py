"""Measurements of a task family with simple policies, for a check before training.

A policy's action is a plan, linear between points of the episode, `_KNOTS` in a search, plus gains
times principal components of the observation.

Letters: M episodes, T control steps, K knots, A action elements, O observation elements, F
features, N tasks that are searched, B simulations, G groups of tasks, L policies of a generation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from metarobot.config import RunConfig
from metarobot.envs import TaskDistribution, Tasks, find_family
from metarobot.machine import choose_num_threads, extra

_KNOTS, _FEATURES = 6, 6
_SEARCHED_TASKS, _GENERATIONS, _MANY_SIMULATIONS = 8, 12, 64
"""Tasks and generations of a search; with fewer simulations, half as many tasks."""
_PLAN_STD, _GAIN_STD = 0.6, 0.3
"""Standard deviations at which a search begins, in half action ranges."""
_LEAST_STD = 0.01
NOISE_LEVELS = (0.5, 0.3, 0.2, 0.1, 0.05)
"""Standard deviations of action noise whose costs are measured, in half action ranges."""
_MOST_SIMULATIONS, _LEAST_SIMULATIONS = 128, 16
"""Simulations that run side by side, B, halved until the check fits its time. An effect is measured
on B rows, a generation has 2 B episodes, two policies are compared on B episodes."""
_SEEN_BATCHES, _LEAST_SEEN = 3, 192
"""Batches of tasks of the regression, and the fewest tasks."""
_COMPONENTS, _MULTIPLIED = 40, 8
"""Principal components of an episode that the regression sees, and those whose products it sees."""
NOTHING = 1e-9
"""Part of a spread below which an effect is rounding."""


class Policies(NamedTuple):
    """M simple policies: a_t = plan(t) + gains · features(o_t), clipped to [-1, 1]."""

    plan: np.ndarray
    """(M, K, A)."""
    gains: np.ndarray
    """(M, F, A)."""

    def rows(self, chosen: Any) -> Policies:
        """Return the chosen policies."""
        return Policies(self.plan[chosen], self.gains[chosen])


class Played(NamedTuple):
    """M episodes; steps that do not count hold the last observation and reward 0."""

    returns: np.ndarray
    """(M,)."""
    success: np.ndarray
    """(M,) bool."""
    unstable: np.ndarray
    """(M,) bool."""
    rewards: np.ndarray
    """(M, T)."""
    observations: np.ndarray
    """As a policy sees them, (M, T + 1, O)."""
    measured: np.ndarray
    """As `_observe` returns them, not clipped, (M, T + 1, O)."""


class Simulator:
    """Plays episodes of a family, `B at a time."""

    def __init__(self, config: RunConfig, size: int) -> None:
        self.size = size  # B
        family: Any = find_family(config.env_id)

        class Watched(family):
            """The family, which keeps what `_observe` returned last."""

            def _observe(self) -> np.ndarray:
                self.measured = super()._observe()
                return self.measured

        self.env = Watched(
            size,
            num_threads=choose_num_threads(config.num_threads),
            variant=config.variant,
            scene_path=config.scene,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        self.distribution = self.env.distribution
        self.horizon, self.start_size = self.env.horizon, self.env.start_size
        self.num_knots = min(_KNOTS, self.horizon)
        self.num_actions = len(family.action_elements)
        self.mean = np.zeros(len(family.observation_elements))
        self.components = np.zeros((len(self.mean), 0))  # (O, F), of unit variance
        self.episodes, self.bad_rewards = 0, 0

    def fit_features(self, observations: np.ndarray) -> None:
        """Take the principal components of observations (M, T, O) as features."""
        flat = observations.reshape(-1, observations.shape[-1]).astype(np.float64)
        self.mean, spread = flat.mean(0), flat.std(0)
        scaled = (flat - self.mean) / np.where(spread > 0, spread, 1.0)
        values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        kept = np.argsort(values)[::-1][:_FEATURES]
        kept = kept[values[kept] > 1e-6]
        scale = np.sqrt(values[kept])
        self.components = vectors[:, kept] / scale / np.where(spread > 0, spread, 1.0)[:, None]

    def random_plans(self, rng: np.random.Generator, count: int) -> Policies:
        """Return plans from constant ones to quickly changing ones, (count)."""
        level = rng.uniform(-1, 1, (count, 1, self.num_actions))
        change = rng.uniform(-1, 1, (count, self.num_knots, self.num_actions))
        share = np.arange(count)[:, None, None] % 3 / 2
        plan = np.clip((1 - share) * level + share * change, -1, 1)
        return Policies(plan, np.zeros((count, self.components.shape[1], self.num_actions)))

    def quick_plan(self, rng: np.random.Generator) -> Policies:
        """Return one random plan that changes quickly, to excite what it can, (1)."""
        return self.random_plans(rng, 3).rows([2])

    def play(
        self,
        tasks: Tasks,
        starts: np.ndarray,
        policies: Policies,
        pulse: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Played:
        """Play an episode of each of M tasks, starts (M, S) and policies.

        Args:
            tasks: M tasks.
            starts: (M, S).
            policies: M policies.
            pulse: Control step (M,) at which another action (M, A) is taken.
        """
        count = len(starts)
        parts = []
        for first in range(0, count, self.size):
            ids = np.arange(first, first + self.size) % count  # the last batch is filled up
            pulses = pulse and (pulse[0][ids], pulse[1][ids])
            played = self._play_batch(tasks.rows(ids), starts[ids], policies.rows(ids), pulses)
            parts.append(Played(*(each[: count - first] for each in played)))
        self.episodes += count
        return Played(*map(np.concatenate, zip(*parts, strict=True)))

    def _play_batch(
        self,
        tasks: Tasks,
        starts: np.ndarray,
        policies: Policies,
        pulse: tuple[np.ndarray, np.ndarray] | None,
    ) -> Played:
        env = self.env
        env.set_tasks(tasks)
        observation = np.nan_to_num(env.reset(options={"start": starts})[0])
        observations, measured = [observation], [env.measured.copy()]
        rewards, alive = [], np.ones(self.size, bool)
        success, unstable = np.zeros((2, self.size), bool)
        num_knots = policies.plan.shape[1]
        place = np.linspace(0, num_knots - 1, self.horizon)
        for t in range(self.horizon):
            low = min(int(place[t]), max(num_knots - 2, 0))
            part, high = place[t] - low, min(low + 1, num_knots - 1)
            action = (1 - part) * policies.plan[:, low] + part * policies.plan[:, high]
            features = (observation - self.mean) @ self.components
            action = action + np.einsum("mf,mfa->ma", features, policies.gains)
            if pulse is not None:
                action = np.where((pulse[0] == t)[:, None], pulse[1], action)
            observation, reward, terminated, truncated, info = env.step(np.clip(action, -1, 1))
            observation = np.nan_to_num(observation)
            counts = alive & ~info["sim_unstable"]
            self.bad_rewards += int((counts & ~np.isfinite(reward)).sum())
            unstable |= alive & info["sim_unstable"]
            rewards.append(np.where(counts, np.nan_to_num(reward), 0.0))
            success = np.where(alive, info["is_success"] & counts, success)
            observations.append(observation)
            measured.append(np.where(counts[:, None], env.measured, measured[-1]))
            alive = counts & ~(terminated | truncated)
            if not alive.any() and t < self.horizon - 1:
                missing = self.horizon - 1 - t
                rewards += [np.zeros(self.size)] * missing
                observations += [observation] * missing
                measured += [measured[-1]] * missing
                break
        stacked = [np.stack(each, axis=1) for each in (rewards, observations, measured)]
        return Played(stacked[0].sum(1), success, unstable, *stacked)


class Effects(NamedTuple):
    """What replacing a part of an episode by another draw does, by the name of the part.

    The parts are ``task``, ``start``, ``actions``, every task parameter and every action element.
    """

    returns: dict[str, float]
    """Standard deviation of the return that it accounts for, in its unit."""
    trajectories: dict[str, float]
    """Part of the variance of the observations, 0 to 1."""
    spread: float
    """Standard deviation of the return over all."""
    reward_lag: int
    """Control steps in which 90 % of what an action changes in the rewards has come."""
    seen_lag: int
    """Control steps until an action shows in the observation, T if it never does."""
    base: Played


def measure_effects(sim: Simulator, rng: np.random.Generator) -> Effects:
    """Replace parts of episodes by other draws, and measure what that changes.

    Rows of (task, start, plan) run with one part replaced. Half the mean squared difference of the
    return is the variance that the part accounts for, its total effect. In a simulation that
    repeats exactly, a parameter that does nothing has an effect of exactly 0.

    Source: Jansen 1999, doi:10.1016/S0010-4655(98)00154-4.
    """
    size, distribution = sim.size, sim.distribution
    tasks, others = (distribution.sample(rng, size) for _ in range(2))
    starts, other_starts = rng.random((2, size, sim.start_size))
    plans, other_plans = (sim.random_plans(rng, size) for _ in range(2))
    base = sim.play(tasks, starts, plans)
    arms: dict[str, tuple[Tasks, np.ndarray, Policies]] = {
        "task": (others, starts, plans),
        "start": (tasks, other_starts, plans),
        "actions": (tasks, starts, other_plans),
    }
    for name in distribution.names:
        columns = {n: (others if n == name else tasks)[n] for n in distribution.names}
        arms[name] = Tasks(columns), starts, plans
    for index, name in enumerate(type(sim.env).action_elements):
        plan = plans.plan.copy()
        plan[..., index] = other_plans.plan[..., index]
        arms[f"action {name}"] = tasks, starts, plans._replace(plan=plan)
    observed = base.observations.astype(np.float64)
    variance = observed.var((0, 1))
    space = sim.env.single_observation_space
    moves = variance > np.square(NOTHING * (space.high - space.low))
    returns, trajectories = {}, {}
    for name, arm in arms.items():
        played = sim.play(*arm)
        returns[name] = math.sqrt(0.5 * np.square(played.returns - base.returns).mean())
        changed = 0.5 * np.square(played.observations - observed).mean((0, 1))
        shares = changed[moves] / variance[moves]
        trajectories[name] = float(shares.mean()) if moves.any() else 0.0
    at = rng.integers(sim.horizon, size=size)
    pulsed = sim.play(tasks, starts, plans, (at, rng.uniform(-1, 1, (size, sim.num_actions))))
    seen = np.abs(pulsed.observations - base.observations)[:, 1:].max(2)  # after step t
    rewards = _by_lag(np.abs(pulsed.rewards - base.rewards), at)
    shown = np.flatnonzero(_by_lag(seen, at) > NOTHING)
    share = np.cumsum(rewards) / max(rewards.sum(), NOTHING)
    return Effects(
        returns,
        trajectories,
        float(base.returns.std()),
        int(np.searchsorted(share, 0.9)) + 1,
        int(shown[0]) if len(shown) else sim.horizon,
        base,
    )


def noisy_returns(sim: Simulator, rng: np.random.Generator) -> dict[float, float]:
    """Return the mean returns of zero actions, by the noise on them: none and `NOISE_LEVELS`."""
    size, shape = sim.size, (sim.size, sim.horizon, sim.num_actions)
    tasks, starts = sim.distribution.sample(rng, size), rng.random((size, sim.start_size))
    noise, gains = rng.normal(size=shape), np.zeros((size, sim.components.shape[1], shape[2]))
    return {
        std: float(sim.play(tasks, starts, Policies(std * noise, gains)).returns.mean())
        for std in (0.0, *NOISE_LEVELS)
    }


def _by_lag(changes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the mean change (M, T) by control steps after the pulse at (M,)."""
    size, horizon = changes.shape
    means = np.zeros(horizon)
    for lag in range(horizon):
        rows = np.flatnonzero(at + lag < horizon)
        if len(rows) >= size / 16:  # fewer are noise
            means[lag] = changes[rows, at[rows] + lag].mean()
    return means


class Searched(NamedTuple):
    """Policies of the tasks, and returns on starts that no search has seen."""

    tasks: Tasks
    """N tasks."""
    told: Policies
    """The best of each task, (N)."""
    shared: Policies
    """The best for all together, (1)."""
    told_played: Played
    """N R episodes, R of each task."""
    shared_played: Played
    """The same tasks and starts."""
    prices: dict[str, tuple[float, float]]
    """Return lost where one parameter is another one, and its standard error."""

    @property
    def gain(self) -> tuple[float, float]:
        """Return that the policies of the tasks gain, and its standard error by the starts."""
        gains = self.told_played.returns - self.shared_played.returns
        by_task = gains.reshape(len(self.tasks), -1)
        error = math.sqrt(by_task.var(1, ddof=1).mean() / by_task.size)
        return float(gains.mean()), error


def search(
    sim: Simulator, rng: np.random.Generator, num_starts: int, progress: Callable[[float], None]
) -> Searched:
    """Search the best policy for all tasks together and, from there, that of each.

    Both have the same number of episodes, and are compared on starts that no search has seen: the
    difference is a lower bound of what knowing the task gains. Every policy of a generation is
    tried from `num_starts` starts.
    """
    number = _SEARCHED_TASKS if sim.size >= _MANY_SIMULATIONS else _SEARCHED_TASKS // 2
    tasks = _stratified(sim.distribution, rng, number)

    def improve(mean: np.ndarray, stage: int) -> np.ndarray:
        def watch(share: float) -> None:
            progress((stage + share) / 3)

        return _improve(sim, tasks, mean, rng, num_starts, watch)

    parts = sim.num_knots + sim.components.shape[1]
    begun = improve(np.zeros((1, parts, sim.num_actions)), 0)
    shared, told = improve(begun, 1), improve(np.repeat(begun, number, axis=0), 2)
    # Any of the policies may be the best one for all tasks, or for one of them; so may no action.
    found = _as_policies(sim, np.concatenate([shared, told, np.zeros_like(shared)]))
    starts_each = max(2, sim.size // number)
    starts = rng.random((number, starts_each, sim.start_size))
    scores = np.stack(
        [
            _play_each(sim, tasks, starts, found.rows(np.full(number, policy))).returns
            for policy in range(number + 2)
        ]
    ).reshape(number + 2, number, starts_each)
    scores = scores.mean(2)  # (N + 2, N)
    best_shared = found.rows([int(scores.mean(1).argmax())])
    best_told = found.rows(scores.argmax(0))
    starts = rng.random((number, starts_each, sim.start_size))
    told_played = _play_each(sim, tasks, starts, best_told)
    shared_played = _play_each(sim, tasks, starts, best_shared.rows(np.zeros(number, int)))
    # Every pair of tasks: parameter by parameter, the first one has the value of the second.
    own, other = np.nonzero(~np.eye(number, dtype=bool))
    few = max(1, sim.size // len(own))
    same = told_played.returns.reshape(number, -1)[:, :few].mean(1)[own]
    prices = {}
    for name in sim.distribution.names:
        columns = {n: tasks[n][other if n == name else own] for n in tasks.names}
        wrong = _play_each(sim, Tasks(columns), starts[own, :few], best_told.rows(own)).returns
        prices[name] = _mean_error(same - wrong.reshape(len(own), -1).mean(1))
    return Searched(tasks, best_told, best_shared, told_played, shared_played, prices)


def _stratified(distribution: TaskDistribution, rng: np.random.Generator, number: int) -> Tasks:
    """Return N tasks whose values of each parameter lie at its N-quantiles, combined at random."""
    pool = distribution.sample(rng, 64 * number)
    columns = {name: np.sort(pool[name])[32::64] for name in pool.names}
    return Tasks({name: rng.permutation(column) for name, column in columns.items()})


def _improve(
    sim: Simulator,
    tasks: Tasks,
    mean: np.ndarray,
    rng: np.random.Generator,
    num_starts: int,
    progress: Callable[[float], None],
) -> np.ndarray:
    """Search one policy for each of G equal groups of N tasks, by the cross-entropy method.

    Source: Rubinstein 1999, doi:10.1023/A:1010091220143.

    Args:
        sim: Plays the episodes.
        tasks: N tasks, group by group.
        mean: Parameters at which the searches begin, (G, K + F, A).
        rng: Source of randomness.
        num_starts: Starts from which a policy is tried on a task.
        progress: Called with the share of the generations done.

    Returns:
        Parameters at which they end, (G, K + F, A).
    """
    num_groups, shape = len(mean), mean.shape[1:]
    tasks = tasks.repeat(num_starts)
    per_group = len(tasks) // num_groups
    num_policies = max(4, 2 * sim.size // len(tasks))  # L
    num_elites = max(2, num_policies // 4)
    places = np.arange(len(tasks)).reshape(num_groups, 1, per_group)
    places = np.broadcast_to(places, (num_groups, num_policies, per_group)).ravel()
    std = np.full(mean.shape, _PLAN_STD)
    std[:, sim.num_knots :] = _GAIN_STD
    for generation in range(_GENERATIONS):
        progress(generation / _GENERATIONS)
        drawn = rng.normal(size=(num_groups, num_policies, *shape))
        drawn[:, 0] = 0.0  # the mean itself
        policies = mean[:, None] + std[:, None] * drawn  # (G, L, K + F, A)
        rows = np.repeat(policies.reshape(-1, *shape), per_group, axis=0)
        starts = rng.random((len(tasks), sim.start_size))  # the same for all policies
        played = sim.play(tasks.rows(places), starts[places], _as_policies(sim, rows))
        scores = played.returns.reshape(num_groups, num_policies, per_group).mean(2)
        best = np.argsort(-scores, axis=1)[:, :num_elites]
        elites = np.take_along_axis(policies, best[:, :, None, None], axis=1)
        mean, std = elites.mean(1), 0.3 * std + 0.7 * elites.std(1) + _LEAST_STD
    return mean


def _as_policies(sim: Simulator, values: np.ndarray) -> Policies:
    """Return policies of parameters (M, K + F, A)."""
    return Policies(values[:, : sim.num_knots], values[:, sim.num_knots :])


def _play_each(sim: Simulator, tasks: Tasks, starts: np.ndarray, policies: Policies) -> Played:
    """Play N policies, each on its task from starts (N, R, S)."""
    number, each, _ = starts.shape
    ids = np.repeat(np.arange(number), each)
    return sim.play(tasks.rows(ids), starts.reshape(number * each, -1), policies.rows(ids))


def _mean_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of values (N,), and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def recognise(
    sim: Simulator, rng: np.random.Generator, policy: Policies
) -> dict[str, tuple[float, float]]:
    """Return R² of every parameter from one episode of a policy (1), without and with rewards.

    A ridge regression is fitted on three quarters of the tasks and judged on the others.
    """
    with extra("train", "a check"):
        from sklearn.decomposition import PCA
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    count = max(_SEEN_BATCHES * sim.size, _LEAST_SEEN)
    tasks = sim.distribution.sample(rng, count)
    starts = rng.random((count, sim.start_size))
    played = sim.play(tasks, starts, policy.rows(np.zeros(count, int)))
    codes = type(sim.env).distribution.encode(tasks)
    fitted = np.arange(count) < 0.75 * count
    seen = played.observations.reshape(count, -1)
    result = []
    for inputs in (seen, np.concatenate([seen, played.rewards], axis=1)):
        scaled = np.asarray(StandardScaler().fit(inputs[fitted]).transform(inputs))
        total = np.square(codes[~fitted] - codes[fitted].mean(0)).sum(0)
        if not scaled.any():  # nothing varies
            result.append((total, total))
            continue
        components = PCA(min(_COMPONENTS, *scaled.shape), svd_solver="full").fit(scaled[fitted])
        varying = components.explained_variance_ > NOTHING * scaled.shape[1]
        reduced = np.asarray(components.transform(scaled))[:, varying]
        products = PolynomialFeatures(2, include_bias=False).fit_transform(reduced[:, :_MULTIPLIED])
        features = np.concatenate([reduced[:, _MULTIPLIED:], products], axis=1)
        ridge = RidgeCV(np.logspace(-2, 5, 15), alpha_per_target=True)
        model = make_pipeline(StandardScaler(), ridge).fit(features[fitted], codes[fitted])
        predicted = model.predict(features[~fitted]).reshape(-1, len(total))
        result.append((np.square(predicted - codes[~fitted]).sum(0), total))
    columns = type(sim.env).distribution.encoded_columns
    (errors, total), (errors_with, _) = (
        [{n: float(part[own].sum()) for n, own in columns.items()} for part in each]
        for each in result
    )
    return {
        name: (max(0.0, 1.0 - errors[name] / whole), max(0.0, 1.0 - errors_with[name] / whole))
        for name, whole in ((n, max(total[n], NOTHING)) for n in columns)
    }


def make_simulator(config: RunConfig, at_most_s: float) -> Simulator:
    """Return a simulator with as many simulations as fit the time."""
    size = _MOST_SIMULATIONS
    while True:
        sim = Simulator(config, size)
        rng = np.random.default_rng(0)
        arguments = sim.distribution.sample(rng, size), rng.random((size, sim.start_size))
        began = time.perf_counter()
        sim.play(*arguments, sim.random_plans(rng, size))
        batch_s = time.perf_counter() - began
        batches = 3 * (2 * _GENERATIONS) + 3 * len(sim.distribution.names)
        batches += sim.num_actions + 2 * _SEEN_BATCHES + 2 * _SEARCHED_TASKS
        if batch_s * batches <= 0.7 * at_most_s or size <= _LEAST_SIMULATIONS:
            return sim
        sim.env.close()
        size //= 2
