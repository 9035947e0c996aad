"""A policy at work in the browser: its task by sliders, before and after adapting side by side.

`PlaySession` runs the episodes and knows no user interface.  `Drawing` shows one simulation in a
viser scene, `PlayPage` the sliders, buttons and numbers beside it, and keeps the time.
"""

from __future__ import annotations

import copy
import errno
import logging
import queue
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode

from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.adaptation.run import as_adaptable
from metarobot.algorithms.base import Belief, tasks_of
from metarobot.envs import (
    TaskDistribution,
    TaskError,
    TaskParameter,
    TaskVectorEnv,
    Variant,
    find_family,
    make_env,
    parameter_words,
)
from metarobot.envs.scene import VIDEO_CAMERA
from metarobot.evaluation.explain import ActionChange, weighted_band
from metarobot.reporting.explanation import change_words
from metarobot.reporting.films import between, place_of, watched
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import after_episodes, algorithm_title, family_title
from metarobot.rollout.seeding import Phase, numpy_generator
from metarobot.training.load import TrainedPolicy

if TYPE_CHECKING:
    import viser

MOST_TRIALS = 40
"""Trials that are kept: as many as an evaluation measures."""
BEFORE, ADAPTED = 0, 1
"""Simulations: of the initialisation, and of the adapted policy."""
_CLOSEST_M = 0.5
"""Distance of the two simulations in the scene, at least."""
_SPEEDS = {"quarter": 0.25, "half": 0.5, "as in the world": 1.0, "double": 2.0, "fourfold": 4.0}
"""Speeds of time, as parts of the world's."""
_REST_S = 0.7
"""Time for which the end of an episode stays in view."""
_PICTURE_S = 1 / 30
"""Time between two pictures, at least."""
_MOST_LATE_S = 0.5
"""Lateness from which no more is caught up: the world waits for the pictures."""
LOOPBACK = "127.0.0.1"
_LAST = 10
"""Episodes that the success and the mean return are of, at most."""
_ENDLESS_M = 5.0
"""Half length from which a plane is drawn as one without end."""
_HIDDEN_GROUP = 3
"""First group of geoms that MuJoCo's viewer hides."""
_UNPAINTED = np.array([0.5, 0.5, 0.5, 1.0], np.float32)
"""Colour of a geom that has that of its material."""
_FLOOR = {
    "cell_size": 0.25,
    "cell_color": (222, 225, 229),
    "section_color": (205, 209, 215),
    "plane_color": (243, 244, 246),
    "plane_opacity": 1.0,
    "shadow_opacity": 0.25,
    "fade_distance": 25.0,
}
"""Look of the grid that a floor without end is drawn as."""
_ALONG_Y = 0.5
"""Part of the camera's right that must be along y for the simulations to stand along y."""
_PHONE_ASPECT, _PHONE_FREE = 0.8, 0.4
"""Aspect below which the panel covers the lower part of the scene, and the part that is free."""
_SHORT_M = 0.1
"""Length below which all lengths of a parameter are shown in millimetres."""
_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""


class Slider(NamedTuple):
    """The range of one task parameter on the page."""

    parameter: TaskParameter
    """The parameter, with the ranges trained on."""
    low: float
    """Lowest value that can be set, in the parameter's own unit."""
    high: float
    """Highest value."""
    unit: str
    """Unit in which values are shown; empty for a ratio."""
    scale: float
    """Factor from the parameter's own unit to that unit."""
    choices: tuple[float, ...]
    """The only values there are; any where empty."""

    @classmethod
    def make_all(
        cls, trained: TaskDistribution, played: TaskDistribution, task: Mapping[str, float]
    ) -> dict[str, Slider]:
        """Return a slider for every parameter that tasks differ in, by its name.

        Args:
            trained: The tasks trained on.
            played: The tasks that can be played: the same, or those of a variant.
            task: The first task, which every slider can show.
        """
        sliders = {}
        for name in played.names:
            edges = [task[name]]
            for each in (trained[name], played[name]):
                edges += [edge for pair in (each.train, *each.extrapolation) for edge in pair]
            low, high = np.clip([min(edges), max(edges)], *played[name].allowed).tolist()
            unit, scale = played[name].unit, 1.0
            if unit == "m" and max(abs(low), abs(high)) < _SHORT_M:
                unit, scale = "mm", 1000.0
            if low < high:
                unit = "" if unit == "1" else unit
                sliders[name] = cls(trained[name], low, high, unit, scale, played[name].choices)
        return sliders

    @property
    def label(self) -> str:
        """The parameter's name for people, with its unit."""
        words = parameter_words(self.parameter.name, self.parameter.unit)
        return f"{words} [{self.unit}]" if self.unit else words

    def words(self, value: float) -> str:
        """Return a value as it is shown, without its unit."""
        return f"{self.scale * value:.3g}"

    def percent(self, value: float) -> float:
        """Return where a value lies between both ends, in percent; one beyond lies at the end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


class Outcome(NamedTuple):
    """The result of one episode."""

    return_: float
    """Sum of its rewards."""
    success: bool
    """Whether it ended in success."""


class PlaySession:
    """A policy at work, episode after episode, on a task that the user sets.

    Two simulations hold the same task and the same starts: in the first acts the meta-learned
    initialisation, in the second the adapted policy.  Trials are run by the initialisation as it
    explores, and adapting always learns from all that are kept: after E trials the policy has seen
    one block of E adaptation episodes, as in an evaluation.  It gets no signal of task changes;
    trials of before stay until `forget`.

    Args:
        trained: The policy.
        task: The first task; parameters not named are nominal.
        variant: The variant that is played; None for the family as it is.
        seed: Seed of the starts, and of the action noise of trials.

    Raises:
        TaskError: The family does not allow the task.
    """

    def __init__(
        self,
        trained: TrainedPolicy,
        *,
        task: Mapping[str, float] | None = None,
        variant: Variant | None = None,
        seed: int = 0,
    ) -> None:
        config = trained.config
        self.policy, self._seed = as_adaptable(trained), seed
        self.env = make_env(
            config.env_id,
            2,
            num_threads=1,
            observe_task=trained.algorithm.observes_task,
            variant=variant,
            scene_path=config.scene,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        columns = {name: [value] for name, value in (task or {}).items()}
        self.env.set_tasks(self.env.distribution.with_values(columns))
        self.sliders = Slider.make_all(tasks_of(config), self.env.distribution, self.task)
        self._qpos = self.env.batch.bind("qpos")  # (2, nq), live
        self._num_shown, self._num_forgotten = 0, -1
        self.forget()

    # Commands.

    @property
    def task(self) -> dict[str, float]:
        """The present task."""
        return self.env.tasks.to_dicts()[0]

    def set_task(self, values: Mapping[str, float]) -> None:
        """Change the physics; the episode in progress begins anew.

        Args:
            values: By name, some parameters; each is clipped to the range of its slider.

        Raises:
            TaskError: The variant refuses it, or a trial is running.
        """
        if self.trying:
            raise TaskError("a trial is running: it runs to its end on the task it began with")
        task = self.task
        for name, value in values.items():
            slider = self.sliders[name]
            task[name] = float(np.clip(value, slider.low, slider.high))
        self._stop_episode()
        self.env.set_tasks({name: [value] for name, value in task.items()})

    def adapt_to(self, num_trials: int) -> None:
        """Run so many more trials next, keep them, and adapt to all that are kept."""
        if self.policy.algorithm.adapts:
            room = MOST_TRIALS - len(self.trials)
            self.num_waiting = min(self.num_waiting + num_trials, room)
            if not self.trying:
                self._stop_episode()

    def forget(self) -> None:
        """Go back to the meta-learned initialisation, without trials."""
        self._num_forgotten += 1
        self.adapted: AdaptablePolicy | None = None
        self.trials: list[Outcome] = []
        """The trials that are kept."""
        self._tasks_of_trials: list[dict[str, float]] = []
        self.num_waiting = 0
        """Trials that are still to be run, with the one in progress."""
        if self.policy.algorithm.adapts:
            seed = self._seed + self._num_forgotten
            self._recorder = self.policy.session(episodes=MOST_TRIALS, seed=seed)
        self._stop_episode()

    def _stop_episode(self) -> None:
        """End the episode in progress, and count anew: the task or the policy is another one."""
        self.trying = False
        """Whether the episode in progress is a trial."""
        self._running = np.zeros(2, bool)
        self.outcomes: tuple[list[Outcome], list[Outcome]] = ([], [])
        """The episodes of both policies on the present task, the last one last."""
        self._mean_actions: np.ndarray | None = None
        self.note = ""
        """Reason why the last command failed, if it did."""

    # The episodes.

    @property
    def running(self) -> bool:
        """Whether an episode is in progress."""
        return bool(self._running.any())

    def advance(self) -> list[np.ndarray]:
        """Take one control step, or begin the next episode where none is in progress.

        Returns:
            Configurations (2, nq) one after the other, `control_dt_s` apart; a single one at the
            start of an episode.
        """
        if not self.running:
            self._begin()
            return [self._qpos.copy()]
        path = [self._qpos.copy()]
        actions, running = self._act(), self._running
        with watched(self.env, lambda: path.append(self._qpos.copy())):
            self._observations, rewards, terminated, truncated, info = self.env.step(actions)
        self._rewards = rewards
        self._returns += np.where(running, rewards, 0.0)
        self._success = np.where(running, info["is_success"], self._success)
        self._actions_taken.append(np.where(running[:, None], actions, np.nan))
        self._running = running & ~(terminated | truncated)
        if self.trying:
            ended, success = bool(not self._running[BEFORE]), bool(self._success[BEFORE])
            self._recorder.record(float(rewards[BEFORE]), truncated=ended, success=success)
        if not self.running:
            self._finish()
        return path

    def _begin(self) -> None:
        """Begin an episode in both simulations at the same start."""
        self.trying = self.num_waiting > 0
        if self.trying:
            self._recorder.begin()
            address = (Phase.ADAPTATION, len(self.trials))
        else:
            for policy in self._acting:
                policy.forget()
                policy.begin()
            address, self._num_shown = (Phase.RENDERING, self._num_shown), self._num_shown + 1
        generator = numpy_generator(self._seed, self._num_forgotten, address[0], task=address[1])
        start = generator.random(self.env.start_size, dtype=np.float32)
        self._observations, _ = self.env.reset(options={"start": np.stack([start, start])})
        self._running, self._success = np.ones(2, bool), np.zeros(2, bool)
        self._returns, self._rewards = np.zeros(2), None
        self._actions_taken: list[np.ndarray] = []

    @property
    def _acting(self) -> list[AdaptablePolicy]:
        return [self.policy] if self.adapted is None else [self.policy, self.adapted]

    def _act(self) -> np.ndarray:
        """Return the actions (2, A); a trial, and a policy that has not adapted, act in both."""
        if self.trying:
            actions = [self._recorder.act(self._observations[BEFORE])]
        else:
            rewards = [None, None] if self._rewards is None else map(float, self._rewards)
            rows = zip(self._acting, self._observations, rewards, strict=False)
            actions = [policy.act(seen, reward=reward) for policy, seen, reward in rows]
        return np.stack([actions[0], actions[-1]])

    def _finish(self) -> None:
        """Take note of an episode that has ended; adapt after the last trial."""
        results = [
            Outcome(float(total), bool(success))
            for total, success in zip(self._returns, self._success, strict=True)
        ]
        if not self.trying:
            self._mean_actions = np.nanmean(self._actions_taken, axis=0)
            for outcomes, result in zip(self.outcomes, results, strict=True):
                outcomes.append(result)
                del outcomes[:-_LAST]
            return
        self.trials.append(results[BEFORE])
        self._tasks_of_trials.append(self.task)
        self.num_waiting -= 1
        if self.num_waiting == 0:
            self._stop_episode()
            try:
                self.adapted = self.policy.adapt_from(self._recorder.recorded)
            except ValueError as error:  # rewards so large that nothing finite comes of them
                self.note = str(error)

    # Results.

    @property
    def num_other(self) -> int:
        """Trials that are of another task than the present one."""
        return sum(task != self.task for task in self._tasks_of_trials)

    @property
    def belief(self) -> Belief | None:
        """Posterior of the adapted policy over tasks; None before adapting, or if it has none."""
        if self.adapted is None:
            return None
        return self.policy.algorithm.belief(self.adapted.task_params)

    @property
    def estimates(self) -> dict[str, list[float]]:
        """Posterior of each parameter after adapting: 5 % quantile, median and 95 % quantile."""
        if (belief := self.belief) is None:
            return {}
        # Task codes use the family's scale, also for a policy trained on a variant.
        distribution = find_family(self.policy.config.env_id).distribution
        values = distribution.decode(belief.codes.double().numpy())
        weights = belief.weights[0].double().numpy()
        return {
            name: weighted_band(slider.parameter, values[name], weights)
            for name, slider in self.sliders.items()
        }

    @property
    def changes(self) -> list[str]:
        """Changes of the mean action of the last episode by adapting, in words."""
        if self.adapted is None or self._mean_actions is None:
            return []
        env_id = self.policy.config.env_id
        elements = find_family(env_id).action_elements
        pairs = zip(elements, *self._mean_actions.tolist(), strict=True)
        changes = [
            ActionChange(element=e, before=before, after=after) for e, before, after in pairs
        ]
        return [*change_words(env_id, changes)]


class Drawing:
    """One simulation in a viser scene: the geoms of its model, built once and moved by its state.

    Boxes, spheres, ellipsoids, capsules, cylinders, planes and meshes are drawn that MuJoCo's
    viewer shows: visible groups, not transparent.  A floor without end is a grid.

    Args:
        scene: Where it is drawn.
        root: Name of its frame there.
        env: The simulations.
        sim: Number of the one that is drawn.
        origin_m: Where its origin lies in the scene, (3,).
        floor_m: Size of the grid for a floor without end, along x and y; None for no floor.
    """

    def __init__(
        self,
        scene: viser.SceneApi,
        root: str,
        env: TaskVectorEnv,
        sim: int,
        origin_m: np.ndarray,
        floor_m: tuple[float, float] | None,
    ) -> None:
        self._scene, self._root, self._env, self._sim = scene, root, env, sim
        self._origin_m, self._floor_m = origin_m, floor_m
        self.model = copy.copy(env.model)
        self.data = _mj.MjData(self.model)
        self.frame = scene.add_frame(root, show_axes=False)
        self.geoms: dict[int, Any] = {}
        """Handles of the drawn geoms, by geom; their poses are relative to the frame."""
        self._sizes = np.zeros((self.model.ngeom, 3))
        self._colours = np.zeros((self.model.ngeom, 4))
        self._poses = np.full((self.model.ngeom, 12), np.nan)  # position and rotation
        self.update()
        self.move(self.data.qpos)

    def update(self) -> None:
        """Take over the task, the colours and the state of the simulation as it is now."""
        self._env.copy_drawn(self._sim, self.model, self.data)
        model, colours = self.model, _colours(self.model)
        resized = (model.geom_size != self._sizes).any(axis=1)
        painted = (colours != self._colours).any(axis=1)
        for geom in np.flatnonzero(resized | painted).tolist():
            rgb = tuple(np.round(255 * colours[geom, :3]).astype(int).tolist())
            if geom in self.geoms and not resized[geom]:
                self.geoms[geom].color = rgb
            elif model.geom_group[geom] < _HIDDEN_GROUP and colours[geom, 3] > 0:
                self._add(geom, rgb, colours[geom, 3])
                self._poses[geom] = np.nan
        self._sizes, self._colours = model.geom_size.copy(), colours

    def move(self, qpos: np.ndarray) -> None:
        """Draw the simulation in another configuration, (nq,)."""
        self.data.qpos[:] = qpos
        _mj.mj_kinematics(self.model, self.data)
        body = _followed(self.model)
        run_m = np.zeros(3) if body is None else self.data.xpos[body] * (1, 1, 0)
        self.frame.position = self._origin_m - run_m
        poses = np.hstack([self.data.geom_xpos, self.data.geom_xmat])
        moved, quaternion = (poses != self._poses).any(axis=1), np.zeros(4)
        for geom, handle in self.geoms.items():
            if moved[geom]:
                handle.position = poses[geom, :3]
                _mj.mju_mat2Quat(quaternion, poses[geom, 3:])
                handle.wxyz = quaternion
        self._poses = poses

    def _add(self, geom: int, rgb: tuple[int, ...], opacity: float) -> None:
        """Add a geom to the scene, unless it is of a kind that cannot be drawn."""
        scene, name, model = self._scene, f"{self._root}/{geom}", self.model
        look = {
            "color": rgb,
            "opacity": opacity if opacity < 1 else None,
            "cast_shadow": opacity == 1,
        }
        kind, size = _mj.mjtGeom(model.geom_type[geom]).name[7:], model.geom_size[geom].copy()
        if kind == "BOX":
            self.geoms[geom] = scene.add_box(name, dimensions=2 * size, **look)
        elif kind == "CYLINDER":
            self.geoms[geom] = scene.add_cylinder(name, radius=size[0], height=2 * size[1], **look)
        elif kind == "PLANE" and not 0 < size[0] < _ENDLESS_M:
            if self._floor_m is not None:
                self.geoms[geom] = scene.add_grid(name, *self._floor_m, **_FLOOR)
        elif solid := _solid(model, geom, kind, size):
            if kind == "PLANE":
                look |= {"cast_shadow": False, "receive_shadow": 0.3}
            self.geoms[geom] = scene.add_mesh_simple(name, *solid, **look)


def _solid(model: Any, geom: int, kind: str, size: np.ndarray) -> tuple[Any, Any] | None:
    """Return vertices and triangles of a geom, None if it cannot be drawn."""
    import trimesh  # of viser

    if kind == "PLANE":
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size[:2]
        return np.pad(corners, ((0, 0), (0, 1))), np.array([[0, 1, 2], [0, 2, 3]])
    if kind == "MESH":
        mesh = model.mesh(model.geom_dataid[geom])
        first, face = mesh.vertadr[0], mesh.faceadr[0]
        vertices = model.mesh_vert[first : first + mesh.vertnum[0]]
        return vertices, model.mesh_face[face : face + mesh.facenum[0]]
    if kind == "CAPSULE":
        solid = trimesh.creation.capsule(height=2 * size[1], radius=size[0], count=(24, 24))
    elif kind in ("SPHERE", "ELLIPSOID"):
        solid = trimesh.creation.icosphere(subdivisions=3)
        solid.apply_scale(size if kind == "ELLIPSOID" else size[0])
    else:
        return None
    return solid.vertices, solid.faces


def _colours(model: Any) -> np.ndarray:
    """Return red, green, blue and opacity of geoms, (G, 4) in [0, 1]: own, or of the material."""
    colours = model.geom_rgba.copy()
    unset = (colours == _UNPAINTED).all(axis=1) & (model.geom_matid >= 0)
    colours[unset] = model.mat_rgba[model.geom_matid[unset]]
    return colours


def _followed(model: Any) -> int | None:
    """Return the body that the camera of films follows as it runs away, None if none does."""
    camera = model.camera(VIDEO_CAMERA)
    follows = camera.mode[0] in (1, 2)  # mjCAMLIGHT_TRACK, mjCAMLIGHT_TRACKCOM
    return int(camera.bodyid[0]) if follows else None


class PlayPage:
    """The page of a session: its scene, sliders, buttons and numbers, and the pace of time.

    Args:
        session: The session.
        server: The server of the page.
    """

    def __init__(self, session: PlaySession, server: viser.ViserServer) -> None:
        self._session, self._server = session, server
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wanted: dict[str, float] = {}
        self._clock_s = time.monotonic()
        self._parts: Any = page_templates().get_template("play.html.j2").module
        self._make_scene()
        self._make_panel()
        self._show_adapted(False)
        server.on_client_connect(lambda client: self._frame(client, self._away))

    # The scene.

    def _make_scene(self) -> None:
        """Draw both simulations side by side, as far apart as the camera of films sees."""
        env = self._session.env
        model, data = copy.copy(env.model), _mj.MjData(env.model)
        env.copy_drawn(BEFORE, model, data)
        camera, body = model.camera(VIDEO_CAMERA).id, _followed(model)
        right, up, self._away = data.cam_xmat[camera].reshape(3, 3).T
        centre = model.stat.center if body is None else data.xpos[body]
        way_m = (data.cam_xpos[camera] - centre) @ self._away
        self._fov_rad = float(np.radians(model.cam_fovy[camera]))
        self._height_m = 2 * way_m * np.tan(self._fov_rad / 2)
        focus = data.cam_xpos[camera] - way_m * self._away
        apart, width_m = np.zeros(3), self._height_m * 4 / 3
        axis = 0 if body is None and abs(right[1]) < _ALONG_Y else 1
        apart[axis] = max(width_m, _CLOSEST_M) * (1 if right[axis] >= 0 else -1)
        self._focus_m = [focus, focus + apart / 2]
        self._nearer_m = [0.0, abs(apart @ self._away) / 2]
        self._width_m = [width_m, width_m + abs(apart @ right)]
        floors = [(20.0, 20.0), None] if body is None else [(200.0, abs(apart[1]))] * 2
        scene, names = self._server.scene, ("/before", "/adapted")
        scene.configure_default_lights(cast_shadow=True)
        self._drawings = [
            Drawing(scene, names[sim], env, sim, sim * apart, floors[sim])
            for sim in (BEFORE, ADAPTED)
        ]
        self._labels = [
            scene.add_label(
                f"{names[sim]}_label",
                "",
                position=focus + sim * apart - 0.42 * self._height_m * up,
                anchor="top-center",
            )
            for sim in (BEFORE, ADAPTED)
        ]

    def _show_adapted(self, shown: bool) -> None:
        """Show or hide the adapted policy, and let every camera see all, from where it looks."""
        self._drawings[ADAPTED].frame.visible = self._labels[ADAPTED].visible = shown
        start = self._server.initial_camera
        start.position, start.look_at = self._camera(self._away, 4 / 3)
        start.fov = self._fov_rad
        for client in self._server.get_clients().values():
            self._frame(client, client.camera.position - client.camera.look_at)

    def _frame(self, client: viser.ClientHandle, away: np.ndarray) -> None:
        with client.atomic():
            client.camera.fov = self._fov_rad
            position, look_at = self._camera(away / np.linalg.norm(away), client.camera.aspect)
            client.camera.position = position
            client.camera.look_at = look_at  # last, as a new position moves it along

    def _camera(self, away: np.ndarray, aspect: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the position of a camera that sees the whole scene, and its target.

        Args:
            away: Direction from the scene to the camera, (3,).
            aspect: Width of the picture, as a part of its height.
        """
        both = self._drawings[ADAPTED].frame.visible
        free = 1.0 if aspect > _PHONE_ASPECT else _PHONE_FREE
        height_m = max(self._height_m / free, self._width_m[both] / aspect)
        up = np.array([0.0, 0.0, 1.0]) - away[2] * away
        below_m = height_m * (1 - free) / 2
        look_at = self._focus_m[both] - below_m * up / max(float(np.linalg.norm(up)), 1e-6)
        way_m = height_m / 2 / np.tan(self._fov_rad / 2) + self._nearer_m[both]
        return look_at + away * way_m, look_at

    # The panel.

    def _make_panel(self) -> None:
        gui, session = self._server.gui, self._session
        config, variant = session.policy.config, session.env.variant
        names = [family_title(config.env_id), variant and variant.name.replace("_", " ")]
        gui.set_panel_label(", ".join(filter(None, [*names, algorithm_title(config.algorithm)])))
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.main_panel.dock_right()
        self._status = gui.add_html("")
        hint = "Run adaptation episodes on this task, then adapt to all that are kept"
        self._adapt = [
            self._add_button("Adapt to 1 trial", partial(session.adapt_to, 1), hint),
            self._add_button("Adapt to 5 trials", partial(session.adapt_to, 5), hint),
        ]
        hint = "Back to the policy before adapting"
        self._forget = self._add_button("Forget", session.forget, hint, "gray")
        with gui.add_folder("Task"):
            self._sliders = {name: self._add_slider(name) for name in session.sliders}
            self._legend = gui.add_html("")
        with gui.add_folder("Episodes"):
            self._outcomes = gui.add_html("")
        with gui.add_folder("Time"):
            self._pause = gui.add_checkbox("pause", False)
            self._speed = gui.add_dropdown("speed", [*_SPEEDS], initial_value="half")

    def _add_button(
        self, label: str, action: Callable[[], None], hint: str, colour: Any = "blue"
    ) -> viser.GuiButtonHandle:
        button = self._server.gui.add_button(label, hint=hint, color=colour)
        button.on_click(lambda _: self._commands.put(action))
        return button

    def _add_slider(self, name: str) -> tuple[Any, Any]:
        """Add a slider, or a choice where there are few values, and the strip below it."""
        gui, slider, value = self._server.gui, self._session.sliders[name], self._session.task[name]
        hint = slider.parameter.description
        if slider.choices:
            options = [slider.words(choice) for choice in slider.choices]
            shown = gui.add_dropdown(
                slider.label, options, initial_value=slider.words(value), hint=hint
            )
        else:
            low, high, at = slider.scale * np.array([slider.low, slider.high, value])
            step = 10 ** np.floor(np.log10((high - low) / 100))
            low = round(float(np.ceil(low / step) * step), 9)
            high = round(float(np.floor(high / step) * step), 9)
            at = float(np.clip(at, low, high))
            shown = gui.add_slider(slider.label, low, high, float(step), at, hint=hint)

        @shown.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:  # else the page itself has set it
                value = float(event.target.value) / slider.scale
                self._commands.put(lambda: self._wanted.update({name: value}))

        return shown, gui.add_html("")

    def _tell(self) -> None:
        """Update the page from the session."""
        session, adapted = self._session, self._session.adapted
        if (adapted is not None) != self._drawings[ADAPTED].frame.visible:
            self._show_adapted(adapted is not None)
        full = len(session.trials) + session.num_waiting >= MOST_TRIALS
        for button in self._adapt:
            button.disabled = not session.policy.algorithm.adapts or full
        self._forget.disabled = not session.trials and not session.num_waiting
        task, estimates = session.task, session.estimates
        for name, (shown, strip) in self._sliders.items():
            shown.disabled = session.num_waiting > 0
            slider, value = session.sliders[name], task[name]
            place = place_of(slider.parameter, value)
            strip.content = str(self._parts.strip(slider, value, place, estimates.get(name)))
        before = "before adapting" if session.policy.algorithm.adapts else "the policy"
        titles = [before] if adapted is None else [before, after_episodes(adapted.num_episodes)]
        rows = []
        for title, outcomes, label in zip(titles, session.outcomes, self._labels, strict=False):
            rows.append((title, len(outcomes), *np.mean(outcomes or [(0.0, 0.0)], axis=0)))
            ending = (": success" if outcomes[-1].success else ": missed") if outcomes else ""
            label.text = title + ending
        if session.trying:
            self._labels[BEFORE].text = f"trial {len(session.trials) + 1}: it explores"
        self._outcomes.content = str(self._parts.outcomes(rows, session.changes))
        self._status.content = str(self._parts.status(session))
        self._legend.content = str(self._parts.legend(session))

    # Time.

    def run(self, stopped: Callable[[], bool]) -> None:
        """Play until it is asked to stop; rest while no browser is connected."""
        self._tell()
        while not stopped():
            self._obey()
            unseen = not self._server.get_clients() and not self._session.num_waiting
            if self._pause.value or unseen:
                time.sleep(_PICTURE_S)
                self._clock_s = time.monotonic()
            else:
                self._show(self._session.advance())

    def _obey(self) -> None:
        """Run the user's commands; the sliders wait until the trials have ended."""
        asked = not self._commands.empty()
        while not self._commands.empty():
            self._commands.get()()
        if self._wanted and not self._session.num_waiting:
            wanted, self._wanted = self._wanted, {}
            try:
                self._session.set_task(wanted)
            except TaskError as error:
                self._session.note = str(error)
        if asked:
            self._tell()

    def _show(self, path: list[np.ndarray]) -> None:
        """Let a motion pass in the scene, as many pictures as there is time for."""
        session = self._session
        shown = self._drawings if session.adapted and not session.trying else self._drawings[:1]
        for drawing in shown:
            drawing.update()
        for before, after in pairwise(path):
            if not self._commands.empty() and not session.num_waiting:
                break  # do not wait for the next picture
            step_s = session.env.control_dt_s / _SPEEDS.get(self._speed.value, 1.0)
            began_s, self._clock_s = self._clock_s, self._clock_s + step_s
            while (now_s := time.monotonic()) < self._clock_s:
                share = max(0.0, (now_s - began_s) / step_s)
                for drawing, one, other in zip(shown, before, after, strict=False):
                    drawing.move(between(session.env, one, other, share))
                time.sleep(max(0.0, min(self._clock_s, now_s + _PICTURE_S) - time.monotonic()))
            self._clock_s = max(self._clock_s, now_s - _MOST_LATE_S)
        for drawing, configuration in zip(shown, path[-1], strict=False):
            drawing.move(configuration)
        if len(path) == 1 or not session.running:
            self._tell()
        if not session.running:
            end_s = time.monotonic() + _REST_S
            while self._commands.empty() and time.monotonic() < end_s:
                time.sleep(_PICTURE_S)
            self._clock_s = time.monotonic()


@contextmanager
def serve(port: int) -> Iterator[viser.ViserServer]:
    """Serve a page to the browsers of this machine, until the context ends.

    Args:
        port: TCP port on the loopback address; 0 takes any that is free.

    Raises:
        ValueError: viser is not installed, or the port is in use or not for this user.
    """
    try:
        import viser
        import websockets.asyncio.server as websocket_server
    except ImportError as error:
        raise ValueError("metarobot play needs `pip install 'metarobot[play]'`") from error
    try:
        with socket.create_server((LOOPBACK, port)) as taken:  # viser would take the next one
            port = taken.getsockname()[1]
    except OSError as error:
        why = "in use" if error.errno == errno.EADDRINUSE else "not for this user"
        raise ValueError(
            f"--port {port} is {why}: name another, or 0 for any that is free"
        ) from error
    original, quiet = websocket_server.serve, StringIO()
    # viser asks for no origin: any page in the user's browser could move the sliders.
    own = [f"http://{LOOPBACK}:{port}", f"http://localhost:{port}", None]
    websocket_server.serve = partial(original, origins=own)
    try:
        with redirect_stdout(quiet):
            server = viser.ViserServer(LOOPBACK, port, verbose=False)
    finally:
        websocket_server.serve = original
    server.request_share_url = lambda verbose=True: None  # a browser can ask for a public address
    # A connection that ends before it has asked for anything would print a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    try:
        yield server
    finally:
        with redirect_stdout(quiet):
            server.stop()
