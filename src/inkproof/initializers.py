"""The values that weights start from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inkproof.layers import Shape, WeightSpec
from inkproof.randomness import Use, uniform

__all__ = ["fans", "glorot_limit", "initial_weights"]


def fans(shape: Shape) -> tuple[int, int]:
    """Count the inputs and the outputs of one unit, as Keras' initializers do.

    Parameters
    ----------
    shape : (inputs, outputs), or with the axes of a convolution's kernel before these two

    Returns
    -------
    (fan in, fan out)
    """
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def glorot_limit(shape: Shape) -> float:
    """Give the half width of the Glorot uniform distribution, sqrt(6 / (fan in + fan out)).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 16.
    """
    return math.sqrt(6.0 / sum(fans(shape)))


def initial_weights(
    specs: Sequence[Sequence[WeightSpec]], *, seed: int
) -> list[npt.NDArray[np.float32]]:
    """Make the arrays of a whole network.

    Random numbers are keyed by the seed and by the layer's number among those that have weights:
    an Activation or a Flatten put in between changes no other layer's start. A layer inside
    another one is a layer of its own here.

    Parameters
    ----------
    specs : of each layer, from the first to the last; those without weights have none
    seed : 0 to 2**64 - 1

    Returns
    -------
    float32 arrays, layer by layer, in Keras' order
    """
    arrays = []
    weighted = (layer for layer in specs if layer)
    for number, layer in enumerate(weighted):
        random = [spec for spec in layer if spec.initializer == "glorot_uniform"]
        count = sum(spec.size for spec in random)
        draws = uniform(count, Use.INITIAL_WEIGHTS, seed=seed, index=number) if count else None
        taken = 0
        for spec in layer:
            if draws is None or spec.initializer != "glorot_uniform":
                value = 1.0 if spec.initializer == "ones" else 0.0
                arrays.append(np.full(spec.shape, value, dtype=np.float32))
                continue
            values = draws[taken : taken + spec.size] * 2.0 - 1.0
            taken += spec.size
            limit = glorot_limit(spec.shape)
            arrays.append((values * limit).astype(np.float32).reshape(spec.shape))
    return arrays
