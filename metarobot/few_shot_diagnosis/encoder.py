"""The network: one small convolution along time, the same in every joint.

A fault in joint 3 looks like the same fault in joint 5.  So all joints share their weights, and the
embeddings of the joints stand side by side: which of them is unusual tells the joint, and how tells
the fault.  The strides of the convolutions equal their widths.  Such a convolution is one product
of matrices, which is fast where every task has its own weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metarobot.few_shot_diagnosis.signals import NUM_KINDS, NUM_PARTS, motion_windows

PATCHES = (8, 2)
"""Widths of the two convolutions: 0.16 s, and two of these."""
UNIT_LENGTH = 4.0
"""Length of all embeddings of `UnitEncoder`; it sets how sure prototypes can be."""


class PartEncoder(nn.Module):
    """Embeds parts of a recording, each by the same weights.

    Args:
        motion: The motion of each part, (P, 3, windows).
        hidden: Channels of the convolutions.
        size: Numbers that a part is embedded as.
    """

    def __init__(self, motion: Tensor, hidden: int, size: int) -> None:
        super().__init__()
        self.motion: Tensor
        self.register_buffer("motion", motion, persistent=False)
        channels = 2 * NUM_KINDS + motion.shape[1]
        self.first = nn.Linear(channels * PATCHES[0], hidden)
        self.second = nn.Linear(hidden * PATCHES[1], hidden)
        self.last = nn.Linear(2 * hidden, size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (S, P, kinds, windows) to (S, P, size)."""
        motion = self.motion.expand(len(inputs), *self.motion.shape)
        values = torch.cat([inputs, motion], dim=2)
        patches = values.unflatten(3, (-1, PATCHES[0])).transpose(2, 3).flatten(3)
        values = torch.relu(self.first(patches))  # (S, P, patches, hidden)
        values = torch.relu(self.second(values.unflatten(2, (-1, PATCHES[1])).flatten(3)))
        pooled = torch.cat([values.mean(2), values.amax(2)], dim=2)
        return self.last(pooled)


class Encoder(nn.Module):
    """Embeds recordings: seven joints by shared weights, and the tool by its own.

    Args:
        hidden: Channels of the convolutions.
        size: Numbers that each part is embedded as.
    """

    def __init__(self, hidden: int = 32, size: int = 16) -> None:
        super().__init__()
        motion = torch.from_numpy(motion_windows())
        self.joints = PartEncoder(motion[:-1], hidden, size)
        self.tool = PartEncoder(motion[-1:], hidden, size)
        self.num_outputs = NUM_PARTS * size

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (S, 8, kinds, windows) to embeddings (S, 8 size)."""
        parts = torch.cat([self.joints(inputs[:, :-1]), self.tool(inputs[:, -1:])], dim=1)
        return parts.flatten(1)


class UnitEncoder(Encoder):
    """Embeds all recordings at one length, for learners that adapt.

    How severe a fault is says nothing about which it is.  Severity stretches an embedding, the
    fault is its direction: so only directions are compared.  And a step size suits all tasks.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (S, 8, kinds, windows) to embeddings (S, 8 size) of length 4."""
        return UNIT_LENGTH * nn.functional.normalize(super().forward(inputs), dim=1)
