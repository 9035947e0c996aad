"""The page of a session: its scene, panel and pace of time."""

from __future__ import annotations

import copy
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from metarobot.envs import TaskError
from metarobot.envs.scene import VIDEO_CAMERA
from metarobot.reporting.camera import between
from metarobot.reporting.films import PLACES, place_of
from metarobot.reporting.play.scene import Drawing, followed_body
from metarobot.reporting.play.session import ADAPTED, BEFORE, MOST_TRIALS, PlaySession
from metarobot.reporting.play.tasks import SHOWN_EPISODES, TriedTask
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import after_episodes, algorithm_title, family_title

if TYPE_CHECKING:
    import viser

_CLOSEST_M = 0.5
"""Distance of the two simulations in the scene, at least."""
_SPEEDS = {"quarter": 0.25, "half": 0.5, "full": 1.0, "fourfold": 4.0}
"""Speeds of time, as parts of the world's."""
_HURRIED_S = 0.4
"""Time that a trial of the demonstration takes, at most."""
_REST_S, _HURRIED_REST_S = 0.7, 0.1
"""Time for which the end of an episode stays in view, and of a trial of the demonstration."""
_PICTURE_S = 1 / 30
"""Time between two pictures, at least."""
_MOST_LATE_S = 0.5
"""Lateness from which no more is caught up: the world waits for the pictures."""
_IDLE_S = 0.5
"""Time between two looks at the end of the program while nothing moves."""
_MARGIN = 1.15
"""Width that the camera sees of two simulations, as a part of what they take."""
_ALONG_Y = 0.5
"""Part of the camera's right that must be along y for the simulations to stand along y."""
_PHONE_ASPECT, _PHONE_FREE = 0.8, 0.4
"""Aspect below which the panel covers the lower part of the scene, and the part that is free."""
_OTHER_ASPECT = 0.1
"""Change of the aspect, as a part of it, that needs another camera."""
_NO_TASK = "another task"
"""Entry of the list of tasks while the sliders hold none of them."""
_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""


class PlayPage:
    """The page of a session: its scene, sliders, buttons and numbers, and the pace of time.

    The handlers of the page only queue commands; `run` obeys them one after the other, so that no
    two meet in the session.

    Args:
        session: The session.
        server: The server of the page.
        tried: Tasks worth trying.
    """

    def __init__(
        self, session: PlaySession, server: viser.ViserServer, tried: Sequence[TriedTask] = ()
    ) -> None:
        self._session, self._server = session, server
        self._tried = {each.label: each for each in tried}
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wanted: dict[str, float] = {}
        self._clock_s = time.monotonic()
        self._parts: Any = page_templates().get_template("play.html.j2").module
        self._make_scene()
        self._make_panel()
        self._show_adapted(False)
        server.on_client_connect(self._meet)
        server.on_client_connect(lambda _: self._commands.put(lambda: None))  # wake up

    # The scene.

    def _make_scene(self) -> None:
        """Draw both simulations side by side, as far apart as the camera of films sees."""
        env = self._session.env
        model, data = copy.copy(env.model), _mj.MjData(env.model)
        env.copy_drawn(BEFORE, model, data)
        camera, body = model.camera(VIDEO_CAMERA).id, followed_body(model)
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
        self._width_m = [width_m, _MARGIN * (width_m + abs(apart @ right))]
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

    def _meet(self, client: viser.ClientHandle) -> None:
        """Let the camera of a browser see all, also after its window was resized or turned."""
        framed = [0.0]  # aspect

        def reframe(camera: viser.CameraHandle) -> None:
            if abs(camera.aspect - framed[0]) > _OTHER_ASPECT * camera.aspect:
                self._frame(client, camera.position - camera.look_at if framed[0] else self._away)
                framed[0] = camera.aspect

        client.camera.on_update(reframe)
        reframe(client.camera)

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
        gui.main_panel.dock_right()
        self._story = gui.add_html("")
        hint = f"Run {SHOWN_EPISODES} trials on this task, adapt, then see before and after"
        self._show_me = self._add_button("Show me", session.demonstrate, hint, "blue")
        self._pause = gui.add_checkbox("pause", False)
        self._speed = gui.add_dropdown("speed", [*_SPEEDS], initial_value="half")
        self._forces = gui.add_checkbox("contact forces", False)
        with gui.add_folder("Task"):
            hint = "Fails (✗) or succeeds (✓) before → after adapting, as measured at the start"
            labels = [_NO_TASK, *self._tried]
            self._list = gui.add_dropdown(
                "worth trying", labels, visible=len(labels) > 1, hint=hint
            )
            self._list.on_update(self._pick)
            hint = "A random task from the gaps of training or beyond it"
            self._surprise = self._add_button("Surprise me", session.surprise, hint)
            self._sliders = {name: self._add_slider(name) for name in session.sliders}
            self._legend = gui.add_html("")
        with gui.add_folder("Trials"):
            self._status = gui.add_html("")
            hint = "Run adaptation episodes on this task, then adapt to all that are kept"
            self._adapt = [
                self._add_button("Adapt to 1 more trial", partial(session.adapt_to, 1), hint),
                self._add_button("Adapt to 5 more trials", partial(session.adapt_to, 5), hint),
            ]
            hint = "Back to the policy before adapting"
            self._forget = self._add_button("Forget", session.forget, hint)
            self._outcomes = gui.add_html("")
        self._dark = gui.add_checkbox("dark", False)
        self._pause.on_update(lambda _: self._commands.put(lambda: None))
        self._forces.on_update(lambda _: self._commands.put(self._show_forces))
        self._dark.on_update(lambda _: self._commands.put(self._set_theme))
        self._set_theme()

    def _add_button(
        self, label: str, action: Callable[[], None], hint: str, colour: Any = "gray"
    ) -> viser.GuiButtonHandle:
        button = self._server.gui.add_button(label, hint=hint, color=colour)
        button.on_click(lambda _: self._commands.put(partial(self._change, action)))
        return button

    def _change(self, action: Callable[[], None]) -> None:
        """Let a button or the list change the session, and go on where it was paused."""
        self._wanted.clear()
        self._pause.value = False
        action()

    def _pick(self, event: viser.GuiEvent) -> None:
        tried = self._tried.get(event.target.value)
        if event.client is not None and tried is not None:  # else the page itself has set it
            begin = partial(self._session.begin_task, tried.task)
            self._commands.put(partial(self._change, begin))

    def _add_slider(self, name: str) -> tuple[Any, Any]:
        """Add a slider, or a choice where there are few values, and the strip below it."""
        gui, slider = self._server.gui, self._session.sliders[name]
        hint, value = slider.parameter.description, self._session.task[name]
        if slider.choices:
            options = [slider.words(choice) for choice in slider.choices]
            shown = gui.add_dropdown(
                slider.label, options, initial_value=slider.words(value), hint=hint
            )
        else:
            low, high = slider.scale * np.array([slider.low, slider.high])
            step = 10 ** np.floor(np.log10((high - low) / 100))
            low = round(float(np.ceil(low / step) * step), 9)
            high = round(float(np.floor(high / step) * step), 9)
            at = float(np.clip(slider.scale * value, low, high))
            shown = gui.add_slider(slider.label, low, high, float(step), at, hint=hint)

        @shown.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:  # else the page itself has set it
                value = float(event.target.value) / slider.scale
                self._commands.put(lambda: self._wanted.update({name: value}))

        return shown, gui.add_html("")

    def _set_theme(self) -> None:
        dark = self._dark.value
        self._server.gui.configure_theme(
            control_width="large", dark_mode=dark, show_logo=False, show_share_button=False
        )
        for drawing in self._drawings:
            drawing.darken(dark)

    def _tell(self) -> None:
        """Update the page from the session."""
        session, adapted = self._session, self._session.adapted
        if (adapted is not None) != self._drawings[ADAPTED].frame.visible:
            self._show_adapted(adapted is not None)
        adapts, busy = session.policy.algorithm.adapts, session.num_waiting > 0
        full = len(session.trials) + session.num_waiting >= MOST_TRIALS
        self._show_me.disabled = not adapts or session.hurried
        for button in self._adapt:
            button.disabled = not adapts or full
        self._forget.disabled = not session.trials and not busy
        self._tell_task()
        before = "before adapting" if adapts else "the policy"
        titles = [before] if adapted is None else [before, after_episodes(adapted.num_episodes)]
        rows = []
        for title, outcomes, label in zip(titles, session.outcomes, self._labels, strict=False):
            results = [(outcome.return_, outcome.success) for outcome in outcomes]
            rows.append((title, len(outcomes), *np.mean(results or [(0.0, 0.0)], axis=0)))
            label.text = title
            if outcomes and not session.trying:
                label.text = f"{'✓' if outcomes[-1].success else '✗'} {title}"
        if session.trying:
            number, of = len(session.trials) + 1, len(session.trials) + session.num_waiting
            self._labels[BEFORE].text = f"trial {number} of {of}: it explores"
        self._outcomes.content = str(self._parts.outcomes(rows, session.changes))
        self._status.content = str(self._parts.status(session))
        self._legend.content = str(self._parts.legend(session))
        self._story.content = str(self._parts.story(session, titles, self._task_words()))

    def _tell_task(self) -> None:
        """Show the present task in the list, the sliders and their strips."""
        session, task, estimates = self._session, self._session.task, self._session.estimates
        for name, (shown, strip) in self._sliders.items():
            shown.disabled = session.num_waiting > 0
            slider, value = session.sliders[name], task[name]
            at = slider.words(value) if slider.choices else slider.scale * value
            if not slider.choices:
                at = float(np.clip(at, shown.min, shown.max))
            if name not in self._wanted and not _same(shown.value, at):
                shown.value = at
            place = place_of(slider.parameter, value)
            strip.content = str(self._parts.strip(slider, value, place, estimates.get(name)))
        label = self._task_label()
        if self._list.value != label:
            self._list.value = label

    def _task_label(self) -> str:
        """Return the entry of the list of tasks that the present one is."""
        task = self._session.task
        for label, tried in self._tried.items():
            if all(_same(task[name], value) for name, value in tried.task.items()):
                return label
        return _NO_TASK

    def _task_words(self) -> str:
        """Return the present task for people, and its place beside the training range."""
        session, task = self._session, self._session.task
        tried = self._tried.get(self._task_label())
        places = {place_of(each.parameter, task[name]) for name, each in session.sliders.items()}
        place = min(places or PLACES[-1:], key=PLACES.index)
        return f"{tried.name}, {place}" if tried else place

    def _show_forces(self) -> None:
        for drawing in self._drawings:
            drawing.show_forces(self._forces.value)

    # Time.

    def run(self, stopped: Callable[[], bool]) -> None:
        """Play until it is asked to stop; rest while no browser is connected."""
        self._tell()
        idle = False
        while not stopped():
            self._obey(_IDLE_S if idle else 0.0)
            unseen = not self._server.get_clients() and not self._session.num_waiting
            idle = self._pause.value or unseen
            if idle:
                self._clock_s = time.monotonic()
            else:
                self._show(self._session.advance())

    def _obey(self, wait_s: float) -> None:
        """Run the user's commands, at first waiting for one; sliders wait for the end of trials."""
        obeyed = False
        with suppress(queue.Empty):
            while True:
                self._try(self._commands.get(timeout=0.0 if obeyed else wait_s))
                obeyed = True
        if self._wanted and not self._session.num_waiting:
            wanted, self._wanted = self._wanted, {}
            self._try(partial(self._session.set_task, wanted))
            obeyed = True
        if obeyed:
            self._tell()

    def _try(self, command: Callable[[], None]) -> None:
        """Run a command; show the reason if its task is refused."""
        try:
            command()
        except TaskError as error:
            self._session.note = str(error)

    def _show(self, path: list[np.ndarray]) -> None:
        """Let a motion pass in the scene, as many pictures as there is time for."""
        session = self._session
        shown = self._drawings if session.adapted and not session.trying else self._drawings[:1]
        for drawing in shown:
            drawing.update()
        for before, after in pairwise(path):
            if not self._commands.empty() and not session.num_waiting:
                break  # do not wait for the next picture
            step_s = session.env.control_dt_s / self._pace()
            began_s, self._clock_s = self._clock_s, self._clock_s + step_s
            while (now_s := time.monotonic()) < self._clock_s:
                share = max(0.0, (now_s - began_s) / step_s)
                for drawing, one, other in zip(shown, before, after, strict=False):
                    drawing.move(between(session.env, one, other, share))
                time.sleep(max(0.0, min(self._clock_s, now_s + _PICTURE_S) - time.monotonic()))
            self._clock_s = max(self._clock_s, now_s - _MOST_LATE_S)
        for drawing, configuration in zip(shown, path[-1], strict=False):
            drawing.move(configuration)
            drawing.show_forces(self._forces.value)
        if len(path) == 1 or not session.running:
            self._tell()
        if not session.running:
            end_s = time.monotonic() + (_HURRIED_REST_S if session.hurried else _REST_S)
            while self._commands.empty() and time.monotonic() < end_s:
                time.sleep(_PICTURE_S)
            self._clock_s = time.monotonic()

    def _pace(self) -> float:
        """Return the speed of time, as a part of the world's."""
        chosen, session = _SPEEDS.get(self._speed.value, 1.0), self._session
        if not session.hurried:
            return chosen
        steps = session.env.horizon + session.env.settle_steps
        return max(chosen, 1.0, steps * session.env.control_dt_s / _HURRIED_S)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same, or two numbers to the digits that a slider keeps."""
    return one == other or (
        not isinstance(one, str) and not isinstance(other, str) and bool(np.isclose(one, other))
    )
