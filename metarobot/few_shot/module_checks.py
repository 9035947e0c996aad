"""Which layers of torch one call cannot compute for all tasks, and what to take instead."""

from torch import nn

_RECURRENT = (nn.RNNBase, nn.LSTMCell)
_DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def require_vectorisable(module: nn.Module) -> None:
    """Refuse a module with a layer that cannot be vectorised over tasks.

    Raises:
        ValueError: There is such a layer; the message names it and the way out.
    """
    for name, layer in module.named_modules():
        if why := _objection(layer):
            place = f"layer {name!r}" if name else "the module"
            raise ValueError(f"{place} is {type(layer).__name__}: {why}")


def _objection(layer: nn.Module) -> str | None:
    """Return what is wrong with a layer and what to do about it; None if nothing is."""
    if isinstance(layer, _RECURRENT):
        return (
            "torch cannot vectorise its recurrent layers over tasks; take a convolution over time, "
            "or a cell of your own from linear layers"
        )
    if layer.training and getattr(layer, "running_mean", None) is not None:
        return (
            "its running statistics would change in every pass, for all tasks at once; take "
            "track_running_stats=False or LayerNorm, or call eval() on the module first"
        )
    if layer.training and isinstance(layer, _DROPOUT) and layer.p > 0:
        return "it draws random numbers; leave it out, or call eval() on the module first"
    return None
