"""Layers that one call cannot compute for all tasks are refused in one line."""

import pytest
from few_shot_fakes import SIZE
from torch import nn

from metarobot.few_shot import LearnerOptions, Maml, MamlOptions, PrototypicalNetwork, squared_error

CANNOT = [
    (nn.RNN(SIZE, 3), "RNN: torch cannot vectorise .* take a convolution"),
    (nn.GRU(SIZE, 3), "GRU: torch cannot vectorise"),
    (nn.LSTM(SIZE, 3), "LSTM: torch cannot vectorise"),
    (nn.LSTMCell(SIZE, 3), "LSTMCell: torch cannot vectorise"),
    (nn.BatchNorm1d(SIZE), "BatchNorm1d: its running statistics .*LayerNorm, or call eval"),
    (nn.Dropout(0.5), r"Dropout: it draws random numbers; .* call eval\(\)"),
]


@pytest.mark.parametrize(("layer", "message"), CANNOT)
def test_a_layer_that_cannot_be_vectorised_is_named(layer, message):
    module = nn.Sequential(nn.Linear(SIZE, SIZE), layer)
    for make in (
        lambda: Maml(module, squared_error, MamlOptions()),
        lambda: PrototypicalNetwork(module, LearnerOptions()),
    ):
        with pytest.raises(ValueError, match=f"^layer '1' is {message}") as error:
            make()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^the module is"):
        Maml(layer, squared_error, MamlOptions())


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(SIZE).eval(),
        nn.BatchNorm1d(SIZE, track_running_stats=False),
        nn.LayerNorm(SIZE),
        nn.Dropout(0.5).eval(),
        nn.Dropout(0.0),
    ],
)
def test_layers_that_change_and_draw_nothing_are_taken(layer):
    Maml(nn.Sequential(nn.Linear(SIZE, SIZE), layer), squared_error, MamlOptions())
