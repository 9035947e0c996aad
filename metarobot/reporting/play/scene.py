"""One simulation in a viser scene: its bodies, moved by its state, and its contact forces."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from metarobot.envs import TaskVectorEnv
from metarobot.envs.scene import VIDEO_CAMERA

if TYPE_CHECKING:
    import viser

_ENDLESS_M = 5.0
"""Half length from which a plane is drawn as one without end."""
_HIDDEN_GROUP = 3
"""First group of geoms that MuJoCo's viewer hides."""
_UNPAINTED = np.array([0.5, 0.5, 0.5, 1.0], np.float32)
"""Colour of a geom that has that of its material."""
_FLOOR = {"cell_size": 0.25, "plane_opacity": 1.0, "shadow_opacity": 0.25, "fade_distance": 25.0}
_FLOOR_COLOURS = {
    False: {
        "cell_color": (222, 225, 229),
        "section_color": (205, 209, 215),
        "plane_color": (243, 244, 246),
    },
    True: {"cell_color": (58, 62, 68), "section_color": (72, 77, 84), "plane_color": (40, 43, 48)},
}
"""Colours of the grid that a floor without end is drawn as, by whether the page is dark."""
_STILL = 1e-6
"""Change of a pose, in m or of a rotation's elements, below which it is not sent."""
_SEEN_THROUGH = 0.45
"""Opacity of bodies while arrows of forces are shown."""
_FORCE_RGB = (214, 84, 0)
_SHORTEST_ARROW_M = 0.005
_mj: Any = mujoco
"""MuJoCo, whose compiled names type checkers cannot see."""


class Drawing:
    """One simulation in a viser scene: a frame for each body, moved by the state, with its geoms.

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
        self.bodies: dict[int, Any] = {}
        """Frames of the bodies that have drawn geoms; their poses are relative to `frame`."""
        self.geoms: dict[int, Any] = {}
        """Handles of the drawn geoms; their poses are relative to those of their bodies."""
        self._floors: list[Any] = []
        self._dark = False
        self._arrows: Any = None
        num_geoms, num_bodies = self.model.ngeom, self.model.nbody
        self._shapes = np.zeros((num_geoms, 10))  # size, position, rotation
        self._colours = np.zeros((num_geoms, 4))
        self._poses = np.full((num_bodies, 7), np.nan)  # position, rotation
        self.update()
        self.move(self.data.qpos)

    def update(self) -> None:
        """Take over the task, the colours and the state of the simulation as it is now."""
        self._env.copy_drawn(self._sim, self.model, self.data)
        model, colours = self.model, _colours(self.model)
        shapes = np.hstack([model.geom_size, model.geom_pos, model.geom_quat])
        reshaped = (shapes != self._shapes).any(axis=1)
        painted = (colours != self._colours).any(axis=1)
        for geom in np.flatnonzero(reshaped | painted).tolist():
            rgb = tuple(np.round(255 * colours[geom, :3]).astype(int).tolist())
            if geom in self.geoms and not reshaped[geom]:
                self.geoms[geom].color = rgb
            elif model.geom_group[geom] < _HIDDEN_GROUP and colours[geom, 3] > 0:
                self._add(geom, rgb, colours[geom, 3])
        self._shapes, self._colours = shapes, colours

    def move(self, qpos: np.ndarray) -> None:
        """Draw the simulation in another configuration, (nq,)."""
        self.data.qpos[:] = qpos
        _mj.mj_kinematics(self.model, self.data)
        followed = followed_body(self.model)
        run_m = np.zeros(3) if followed is None else self.data.xpos[followed] * (1, 1, 0)
        self.frame.position = self._origin_m - run_m
        poses = np.hstack([self.data.xpos, self.data.xquat])
        moved = ~(np.abs(poses - self._poses) < _STILL)  # also of one that is not known
        for body, handle in self.bodies.items():
            if moved[body, :3].any():
                handle.position = poses[body, :3]
            if moved[body, 3:].any():
                handle.wxyz = poses[body, 3:]
        self._poses = np.where(moved, poses, self._poses)

    def show_forces(self, shown: bool) -> None:
        """Draw the contact forces of the last `update` as arrows, or remove them."""
        if shown != (self._arrows is not None):
            for geom, handle in self.geoms.items():
                if self._colours[geom, 3] == 1 and self.model.geom_bodyid[geom] != 0:
                    handle.opacity = _SEEN_THROUGH if shown else None
        if not shown:
            if self._arrows is not None:
                self._arrows.remove()
                self._arrows = None
            return
        arrows = self._contact_arrows()
        if self._arrows is None:
            self._arrows = self._scene.add_arrows(
                f"{self._root}/forces",
                arrows,
                _FORCE_RGB,
                shaft_radius=0.003,
                head_radius=0.008,
                head_length=0.018,
            )
        else:
            self._arrows.points = arrows

    def darken(self, dark: bool) -> None:
        """Draw the floor without end for a dark page, or for a light one."""
        self._dark = dark
        for floor in self._floors:
            for name, colour in _FLOOR_COLOURS[dark].items():
                setattr(floor, name, colour)

    def _contact_arrows(self) -> np.ndarray:
        """Return start and end of an arrow a contact, (C, 2, 3), in m: the force on one body."""
        data, force, arrows = self.data, np.zeros(6), []
        for index in range(data.ncon):
            contact = data.contact[index]
            _mj.mj_contactForce(self.model, data, index, force)
            pushed_m = contact.frame.reshape(3, 3).T @ force[:3] * self._env.contact_force_m_per_n
            if self.model.geom_bodyid[contact.geom[1]] == 0:
                pushed_m = -pushed_m  # the world's share is not seen
            if np.linalg.norm(pushed_m) > _SHORTEST_ARROW_M:
                arrows.append([contact.pos, contact.pos + pushed_m])
        return np.array(arrows, np.float32).reshape(-1, 2, 3)

    def _add(self, geom: int, rgb: tuple[int, ...], opacity: float) -> None:
        """Add a geom to the scene, unless it is of a kind that cannot be drawn."""
        scene, model, body = self._scene, self.model, int(self.model.geom_bodyid[geom])
        if body not in self.bodies:
            self.bodies[body] = scene.add_frame(f"{self._root}/{body}", show_axes=False)
            self._poses[body] = np.nan
        name = f"{self._root}/{body}/{geom}"
        look = {
            "color": rgb,
            "opacity": opacity if opacity < 1 else None,
            "cast_shadow": opacity == 1,
            "position": model.geom_pos[geom],
            "wxyz": model.geom_quat[geom],
        }
        kind, size = _mj.mjtGeom(model.geom_type[geom]).name[7:], model.geom_size[geom].copy()
        if kind == "BOX":
            self.geoms[geom] = scene.add_box(name, dimensions=2 * size, **look)
        elif kind == "CYLINDER":
            self.geoms[geom] = scene.add_cylinder(name, radius=size[0], height=2 * size[1], **look)
        elif kind == "PLANE" and not 0 < size[0] < _ENDLESS_M:
            if self._floor_m is not None:
                place = {"position": model.geom_pos[geom], "wxyz": model.geom_quat[geom]}
                look = {**_FLOOR, **_FLOOR_COLOURS[self._dark], **place}
                self.geoms[geom] = scene.add_grid(name, *self._floor_m, **look)
                self._floors = [self.geoms[geom]]
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


def followed_body(model: Any) -> int | None:
    """Return the body that the camera of films follows as it runs away, None if none does."""
    camera = model.camera(VIDEO_CAMERA)
    follows = camera.mode[0] in (1, 2)  # mjCAMLIGHT_TRACK, mjCAMLIGHT_TRACKCOM
    return int(camera.bodyid[0]) if follows else None
