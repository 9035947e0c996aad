"""Screens: pictures for a browser, and MuJoCo's own viewer."""

from __future__ import annotations

import copy
import io
import os
import sys
import threading
import warnings
from typing import Any

import mujoco
import numpy as np
from PIL import Image

from metarobot.play.exchange import PICTURES, Exchange
from metarobot.play.loop import Screen
from metarobot.play.session import PlaySession
from metarobot.play.state import PlayState
from metarobot.reporting.style import after_episodes

_JPEG_QUALITY = 82
_CLOSE_S = 5.0
"""How long a window may take to close."""
_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""


class PictureScreen(Screen):
    """Pictures for whoever asks for them, drawn without shadows, which need a GPU.

    Args:
        exchange: Where they are put.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def draw(self, session: PlaySession) -> None:
        """Draw the simulations that the session shows, as they are now."""
        drawn = {sim: _jpeg(session.env.picture(sim, shadows=False)) for sim in session.pictures}
        for sim, content in drawn.items():  # together, so that they are of one moment
            self._exchange.pictures[PICTURES[sim]].put(content)


def _jpeg(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="jpeg", quality=_JPEG_QUALITY)
    return content.getvalue()


class WindowScreen(Screen):
    """MuJoCo's own viewer: the adapted policy once there is one, with a camera to be turned.

    Args:
        session: What is played.
        exchange: Is told that somebody looks, as long as the window is open.

    Raises:
        ValueError: On macOS it needs another Python, MuJoCo's own.
    """

    def __init__(self, session: PlaySession, exchange: Exchange) -> None:
        from mujoco import viewer  # which loads GLFW

        self._exchange, batch = exchange, session.env.batch
        exchange.look()
        self._model = copy.copy(session.env.model)
        self._data = _mj.MjData(self._model)
        batch.get_data(0, self._data)
        others = {*threading.enumerate()}
        try:
            self._viewer = viewer.launch_passive(
                self._model, self._data, show_left_ui=False, show_right_ui=False
            )
        except RuntimeError as error:  # on macOS, outside mjpython
            raise ValueError(f"{error}: run it so, or --web shows it in a browser") from error
        self._threads = [each for each in threading.enumerate() if each not in others]
        self._viewer.cam.type = _mj.mjtCamera.mjCAMERA_FREE.value

    def is_open(self) -> bool:
        """Return whether the window has not been closed."""
        return self._viewer.is_running()

    def draw(self, session: PlaySession) -> None:
        """Draw the last of the simulations that the session shows, as it is now."""
        self._exchange.look()
        sim = session.pictures[-1]
        with self._viewer.lock():
            session.env.batch.get_model(sim, self._model)
            session.env.batch.get_data(sim, self._data)
            _mj.mj_forward(self._model, self._data)
        self._viewer.set_texts((None, None, session.env.family, _caption(session.state)))
        self._viewer.sync()

    def close(self) -> None:
        """Close the window, and wait until nothing draws in it any more."""
        self._viewer.close()
        for thread in self._threads:
            thread.join(_CLOSE_S)


def _caption(state: PlayState) -> str:
    """Say what a window shows."""
    if state.shown_trial:
        return f"trial {state.shown_trial}: it explores"
    return after_episodes(state.num_adapted)


def require_window() -> None:
    """Refuse to open a window where MuJoCo's viewer would end the process.

    Raises:
        ValueError: There is no display, or it has no OpenGL.
    """
    instead = "--web shows it in a browser, here or, through a tunnel, on another machine"
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform not in ("darwin", "win32") and not any(map(os.environ.get, names)):
        raise ValueError(f"there is no display for a window: {instead}")
    import glfw

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        window = None
        if glfw.init():
            glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
            window = glfw.create_window(16, 16, "", None, None)
            glfw.default_window_hints()
    if not window:
        why = str(said[-1].message) if said else "no reason given"
        raise ValueError(f"no window opens on this display ({why}): {instead}")
    glfw.destroy_window(window)
