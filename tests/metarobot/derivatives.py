"""Derivatives of functions of a parameter tree by central differences, to hold others against."""

import torch

from metarobot.policies import flatten_params, repeat_params, unflatten_params


def vector_of(params):
    return flatten_params(repeat_params(params, 1))[0]


def numerical_gradient(function, params, width=1e-5):
    centre = vector_of(params)
    gradient = torch.zeros_like(centre)
    for i in range(len(centre)):
        offset = torch.zeros_like(centre)
        offset[i] = width
        above, below = (function(unflatten_params(centre + s * offset, params)) for s in (1, -1))
        gradient[i] = (above - below) / (2 * width)
    return gradient


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()
