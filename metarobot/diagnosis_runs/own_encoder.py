"""The network for recordings by any sensors: a small convolution along time, then pooling.

The strides of the convolutions equal their widths, as in the arm's encoder: such a convolution is
one product of matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTHS = (4, 2)
"""Frames that the first convolution reads, and its outputs that the second one reads."""
_NUM_TIMES = 3


class FrameEncoder(nn.Module):
    """Embeds recordings, however many windows they have.

    Args:
        values: Numbers of a frame: channels times kinds.
        frames: Frames of a window.
        hidden: Channels of the convolutions.
        size: Numbers that a recording is embedded as.
    """

    def __init__(self, values: int, frames: int, hidden: int = 48, size: int = 32) -> None:
        super().__init__()
        time = torch.linspace(-1, 1, frames)
        where = torch.stack([time, torch.sin(torch.pi * time), torch.cos(torch.pi * time)])
        self.where: Tensor
        # A fixed motion says something else at its beginning than at its end.
        self.register_buffer("where", where, persistent=False)
        self.first = nn.Linear((values + _NUM_TIMES) * _WIDTHS[0], hidden)
        self.second = nn.Linear(hidden * _WIDTHS[1], hidden)
        self.last = nn.Linear(2 * hidden, size)
        self.num_outputs = size

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (S, C, kinds, frames of all windows) to embeddings (S, size)."""
        values = inputs.flatten(1, 2)
        windows = values.shape[-1] // self.where.shape[-1]
        where = self.where.repeat(1, windows).expand(len(values), -1, -1)
        patches = _patches(torch.cat([values, where], dim=1).mT, _WIDTHS[0])
        found = torch.relu(self.first(patches))
        found = torch.relu(self.second(_patches(found, _WIDTHS[1])))
        return self.last(torch.cat([found.mean(1), found.amax(1)], dim=1))


def _patches(values: Tensor, width: int) -> Tensor:
    """Join neighbours in time: (S, time, D) becomes (S, time / width, width D)."""
    return values.unflatten(1, (-1, width)).flatten(2)
