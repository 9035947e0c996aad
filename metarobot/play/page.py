"""The page of a play session: one file with its own style and script, which loads nothing else."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from metarobot.play.exchange import PICTURES
from metarobot.play.session import PlaySession
from metarobot.play.sliders import PLACE_WORDS
from metarobot.reporting.report import page_templates
from metarobot.reporting.style import algorithm_title, family_title


class PlayPage:
    """Makes the page.

    Args:
        session: What is played.
        run: Where the policy is from.
        has_pictures: Whether the page shows the simulation; if not, a window does.
    """

    def __init__(self, session: PlaySession, run: str, *, has_pictures: bool) -> None:
        config, variant = session.initial.config, session.env.variant
        title = family_title(config.env_id)
        if variant is not None:
            title += f", {variant.name.replace('_', ' ')}"
        self._fields: dict[str, Any] = {
            "title": title,
            "algorithm": algorithm_title(config.algorithm),
            "family": config.env_id,
            "run": run,
            "has_pictures": has_pictures,
            "facts": {
                "sliders": [asdict(slider) for slider in session.sliders],
                "places": PLACE_WORDS,
                "pictures": PICTURES,
                "hasPictures": has_pictures,
                "adapts": session.initial.algorithm.adapts,
            },
        }
        self._template = page_templates().get_template("play.html.j2")

    def __call__(self, nonce: str) -> str:
        """Return the page, whose style and script bear a nonce."""
        return self._template.render(nonce=nonce, **self._fields)
