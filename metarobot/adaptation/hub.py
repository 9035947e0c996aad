"""Policies as folders in the form of the Hugging Face Hub, which its own client uploads.

``model.safetensors`` is the file that `AdaptablePolicy.save` writes, and all that is read again;
``config.json`` and ``README.md``, the card, describe it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metarobot.adaptation.onnx import facts_of
from metarobot.adaptation.policy import AdaptablePolicy
from metarobot.io import Folder, FolderError, json_bytes

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "README.md"


def find_policy_file(path: Path) -> Path:
    """Return the file of a policy in a folder of the Hub's form; any other path as it is."""
    file = path / WEIGHTS_FILE
    return file if file.is_file() else path  # in the client's cache it is a link


def write_hub_folder(policy: AdaptablePolicy, path: Path, *, overwrite: bool = False) -> None:
    """Write a policy as a folder of three files.

    Args:
        policy: A trained policy, or one that has been adapted.
        path: The folder; its parents are made.
        overwrite: Replace the three files of a folder that is there already.

    Raises:
        ValueError: The folder is there already, or the task family is not known.
        OSError: It cannot be written.
    """
    folder = Folder(path)
    if folder.names() and not overwrite:
        raise FolderError(f"{path} is there already: name another folder, or pass --overwrite")
    facts = {"library_name": "metarobot", **facts_of(policy), "training": policy.config.to_dict()}
    folder.make()
    folder.write(CARD_FILE, _card(facts).encode())
    folder.write(CONFIG_FILE, json_bytes(facts))
    policy.save(path / WEIGHTS_FILE)


_CARD = """---
library_name: metarobot
pipeline_tag: reinforcement-learning
tags:
- robotics
- reinforcement-learning
- meta-reinforcement-learning
- {tag}
---

# {algorithm} on {family}

A robot policy of {algorithm} that adapts from a few episodes. It was trained in simulation by
metarobot {metarobot_version} on {family}{on_variant}, and has since been adapted to
{adaptation_episodes} episodes.

```python
import metarobot as mr

policy = mr.load_policy("FOLDER")  # as `hf download NAME --local-dir FOLDER` leaves it
adapted = policy.adapt(robot, episodes=5)  # a gymnasium.Env with these elements
action = adapted.act(observation)
```

A control step lasts {control_period_s:g} s, an episode at most {episode_steps} steps.

{tables}
"""


def _card(facts: dict[str, Any]) -> str:
    """Return the card: Markdown, after metadata that the Hub reads."""
    lines: list[str] = []
    for kind in ("observation", "action"):
        lines += [f"| {kind} | unit | low | high |", "| --- | --- | --- | --- |"]
        lines += [f"| {e['name']} | {e['unit']} | {e['low']} | {e['high']} |" for e in facts[kind]]
        lines.append("")
    return _CARD.format(
        **facts,
        tag=facts["family"].rpartition("/")[2],
        on_variant=f", variant {facts['variant']}" if facts["variant"] else "",
        tables="\n".join(lines).rstrip(),
    )
