"""The network: products within short windows of an episode, and events along it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW = 5
"""Control steps in a window: a command that acts three steps late shows in it."""
_EVENT_PARTS = 2
"""Parts of an episode whose events are kept apart: what changes on the way differs in them."""


class EpisodeWindows(nn.Module):
    """Embeds an episode by how what was done goes with what came of it.

    Like `EpisodeEncoder`, it takes the mean of products of features, here of those of several steps
    at once, so that a delay shows.  The greatest response of a small convolution beside it shows
    what happens once: a push, or a drive that gives way.

    Args:
        signal_size: F, numbers of a step.
        hidden: Products, responses, and units behind them.
        size: Numbers that an episode is embedded as.
    """

    def __init__(self, signal_size: int, hidden: int = 48, size: int = 32) -> None:
        super().__init__()
        self.left = nn.Linear(signal_size * WINDOW, hidden)
        self.right = nn.Linear(signal_size * WINDOW, hidden)
        self.event = nn.Linear(signal_size * WINDOW, hidden)
        self.hidden = nn.Linear((1 + 2 * _EVENT_PARTS) * hidden, hidden)
        self.last = nn.Linear(hidden, size)
        self.num_outputs = size

    def forward(self, signals: Tensor) -> Tensor:
        """Map signals (S, T, F) to embeddings (S, size)."""
        windows = signals.unfold(1, WINDOW, 1).flatten(2)  # (S, T - 4, 5 F)
        products = (self.left(windows) * self.right(windows)).mean(1)
        parts = torch.relu(self.event(windows)).tensor_split(_EVENT_PARTS, dim=1)
        events = [pooled for part in parts for pooled in (part.mean(1), part.amax(1))]
        pooled = torch.cat([torch.tanh(products), *events], dim=1)
        return self.last(torch.relu(self.hidden(pooled)))
