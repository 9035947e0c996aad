"""Policies as ONNX files, for controllers that run no PyTorch.

PyTorch's exporter makes the graph of `ControlStep`, by which `AdaptablePolicy.act` acts as well.
It needs the packages onnx and onnxscript, which are imported when a policy is exported.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarobot.adaptation.policy import AdaptablePolicy, ControlStep
from metarobot.adaptation.robot import LARGEST_REWARD
from metarobot.envs import TaskDistribution, find_family
from metarobot.io import require_absent, write_file
from metarobot.machine import VERSION

SUFFIX = ".onnx"
OPSET, IR_VERSION = 18, 8
"""Opset and file version of ONNX 1.13, of December 2022; checked with onnxruntime 1.20 and 1.32."""
_ACTION_UNIT = "half of the action range"


def export_onnx(policy: AdaptablePolicy, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a policy as one ONNX file, which acts as `AdaptablePolicy.act` does.

    Args:
        policy: A trained policy, or one that has been adapted.
        path: File to write in one piece, ending in .onnx.
        overwrite: Replace a file that is there already.

    Raises:
        ValueError: The name ends otherwise, a file is there already, onnx or onnxscript is not
            installed, or PyTorch cannot export the policy.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"an ONNX file must end in {SUFFIX}, got {path}")
    if not overwrite:
        require_absent(path)
    write_file(path, onnx_bytes(policy))


def require_onnx() -> None:
    """Refuse to export without onnx and onnxscript.

    Raises:
        ValueError: One is missing; the message says how to install both.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError("ONNX files need `pip install 'metarobot[onnx]'`") from error


def onnx_bytes(policy: AdaptablePolicy) -> bytes:
    """Return the content of a policy's ONNX file.

    Raises:
        ValueError: onnx or onnxscript is not installed, or PyTorch cannot export the policy.
    """
    require_onnx()
    import onnx

    facts = facts_of(policy)
    step = _ExportedStep(policy.interface, policy.policy, policy.params)
    try:
        model = _graph(step, len(policy.interface.observation_low))
    except Exception as error:  # the exporter may raise any
        cause = error.__cause__ or error
        why = [type(cause).__name__, *str(cause).split("\n")][:2]
        raise ValueError(
            f"{policy.config.algorithm} cannot be exported by PyTorch: {': '.join(why)}"
        ) from error
    model.graph.name = policy.config.algorithm
    model.producer_name, model.producer_version = "metarobot", VERSION
    model.ir_version = IR_VERSION
    _leave_out(model)
    shapes = {each.name: each.type.tensor_type.shape for each in model.graph.input}
    if fixed := [name for name, shape in shapes.items() if not shape.dim[0].dim_param]:
        raise ValueError(
            f"{policy.config.algorithm} cannot be exported: its {fixed[0]} has a fixed number of "
            "rows (len of a tensor fixes it, and its shape does not)"
        )
    texts = {key: json.dumps(value, allow_nan=False) for key, value in facts.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class _ExportedStep(ControlStep):
    """A control step that accepts inputs which `AdaptablePolicy.act` refuses.

    A robot that shows a number that is not finite takes no step: its action is 0, and its memory
    stays as it is.  A reward that is not finite in single precision counts as not measured.
    """

    def forward(
        self, observation: Tensor, reward: Tensor, begins: Tensor, memory: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take a step; see `ControlStep`."""
        is_taken = observation.isfinite().all(1, keepdim=True)
        seen = torch.where(is_taken, observation, 0.0)
        measured = torch.where(reward.abs() <= LARGEST_REWARD, reward, torch.nan)
        action, after = super().forward(seen, measured, begins, memory)
        kept = {name: torch.where(is_taken, after[name], memory[name]) for name in memory}
        return torch.where(is_taken, action, 0.0), kept


def _graph(step: ControlStep, observation_size: int) -> Any:
    """Return the graph of a control step; all of its tensors are doubles (robots, X)."""
    memory = step.blank(2)
    inputs: dict[str, Any] = {
        "observation": torch.zeros(2, observation_size, dtype=torch.float64),
        **{name: torch.zeros(2, 1, dtype=torch.float64) for name in ("reward", "begins")},
    }
    names = [*inputs, *(f"state_{name}" for name in memory)]
    inputs["memory"] = memory
    robots = {0: torch.export.Dim("robots")}
    shapes = dict.fromkeys(inputs, robots) | {"memory": dict.fromkeys(memory, robots)}
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own code
            program = torch.onnx.export(
                step,
                kwargs=inputs,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=names,
                output_names=["action", *(f"next_{name}" for name in memory)],
                dynamic_shapes=shapes,
            )
    finally:
        noisy.setLevel(level)
    return program.model_proto  # pyright: ignore[reportOptionalMemberAccess]


def _leave_out(model: Any) -> None:
    """Remove unused states and inputs, and the notes of the exporter."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    unread = [each for each in graph.input if each.name not in read]
    ends = {each.name.replace("state_", "next_") for each in unread}
    for each in unread:
        graph.input.remove(each)
    for each in [each for each in graph.output if each.name in ends]:
        graph.output.remove(each)
    noted = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info]
    for each in [*noted, *graph.initializer]:
        del each.metadata_props[:]
        each.doc_string = ""


def facts_of(policy: AdaptablePolicy) -> dict[str, Any]:
    """Return the metadata of an exported policy: names, units, bounds and scaling.

    Raises:
        ValueError: The task family is not known, or has other elements than the policy.
    """
    config, interface = policy.config, policy.interface
    family = find_family(config.env_id)
    facts = {
        "metarobot_version": VERSION,
        "family": config.env_id,
        "variant": config.variant.name if config.variant else None,
        "algorithm": config.algorithm,
        "adaptation_episodes": policy.num_episodes,
        "control_period_s": family.control_step_s(),
        "episode_steps": interface.horizon,
        "observation": _observation(policy),
        "action": [
            {"name": name, "unit": _ACTION_UNIT, "low": -1.0, "high": 1.0}
            for name in policy.elements.action
        ],
        "action_commands": [asdict(scale) for scale in family.action_scales],
    }
    estimate = _task_estimate(policy, family.distribution)
    return facts if estimate is None else {**facts, "task_estimate": estimate}


def _observation(policy: AdaptablePolicy) -> list[dict[str, Any]]:
    """Return a row for each element; the network reads (observation - centre) / half_range."""
    interface, names = policy.interface, policy.elements.observation
    units = [each.unit for each in find_family(policy.config.env_id).observation_elements]
    units += ["1"] * (len(names) - len(units))  # of a task code
    bounds = zip(interface.observation_low, interface.observation_high, strict=True)
    return [
        {
            "name": name,
            "unit": unit,
            "low": _shortest(low),
            "high": _shortest(high),
            "centre": _shortest((low + high) / 2),
            "half_range": _shortest((high - low) / 2),
        }
        for name, unit, (low, high) in zip(names, units, bounds, strict=True)
    ]


def _task_estimate(
    policy: AdaptablePolicy, distribution: TaskDistribution
) -> dict[str, float] | None:
    """Return the estimate of the task; None unless the policy acts on one."""
    belief = policy.algorithm.belief(policy.task_params)
    if belief is None or not belief.is_used.any():
        return None
    mean = belief.weights[:1] @ belief.codes[0]
    return distribution.decode(mean.double().numpy()).to_dicts()[0]


def _shortest(value: float) -> float:
    """Return the shortest decimal that is the same in single precision, as bounds are kept."""
    return float(str(np.float32(value)))
