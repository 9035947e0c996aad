"""What of a user's MJCF MuJoCo's compiler would change without a word: refused before it does.

A negative mass is ignored where the body has its inertia stated, a negative friction compiles as it
is, and some settings of the compiler put other masses in the place of those that a scene states.
"""

from __future__ import annotations

from metarobot.envs.scene import SceneError
from metarobot.envs.scene_xml import Element

NOT_NEGATIVE = (
    *("mass", "density", "viscosity", "diaginertia"),
    *("friction", "o_friction", "frictionloss", "armature", "size", "width"),
)
"""Attributes that are not negative, in whatever element they stand."""
REPLACING = ("boundmass", "boundinertia", "settotalmass")
"""Settings of the compiler that raise or scale masses and inertias; 0 and -1 leave them."""


def check_physics(root: Element) -> None:
    """Refuse numbers without physical meaning, and settings that would replace what is stated.

    Args:
        root: A model, with what it includes.

    Raises:
        SceneError: The message names the line, the attribute and its value.
    """
    for element in root.walk():
        for name in NOT_NEGATIVE:
            _refuse_negative(element, name, element.attributes.get(name, ""))
        diagonal = element.attributes.get("fullinertia", "").split()[:3]
        _refuse_negative(element, "fullinertia", " ".join(diagonal))
        if element.tag == "compiler":
            _refuse_replacing(element, root)


def _refuse_negative(element: Element, name: str, text: str) -> None:
    for number in _numbers(element, name, text):
        if number < 0:
            raise SceneError(f"{element.place}: {name} is {number:g}, must not be negative")


def _numbers(element: Element, name: str, text: str) -> list[float]:
    """Return the numbers of an attribute; MuJoCo would read other notations, such as 0x1, too."""
    try:
        return [float(token) for token in text.split()]
    except ValueError:
        raise SceneError(
            f"{element.place}: {name} is {text[:40]!r}, need decimal numbers"
        ) from None


def _refuse_replacing(compiler: Element, root: Element) -> None:
    for name in REPLACING:
        numbers = _numbers(compiler, name, compiler.attributes.get(name, ""))
        if any(number > 0 for number in numbers):
            raise SceneError(
                f"{compiler.place}: {name} would replace the masses of the scene: leave it out, "
                "and state the masses that are meant"
            )
    if compiler.attributes.get("balanceinertia") == "true":
        raise SceneError(
            f"{compiler.place}: balanceinertia would replace inertias that no body can have: "
            "leave it out, and correct them"
        )
    stated = next((element for element in root.walk() if element.tag == "inertial"), None)
    if compiler.attributes.get("inertiafromgeom") == "true" and stated:
        raise SceneError(
            f"{stated.place}: this inertial would be ignored, since inertiafromgeom is true: "
            "leave one of them out"
        )
