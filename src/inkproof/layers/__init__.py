"""Layers: frozen descriptions of what a network is made of.

A layer knows its arguments, the shape that it makes of another shape, and which weights it needs
for that; it holds no weights and computes nothing. Names, arguments, parameter counts and output
shapes are Keras'. Shapes leave out the batch axis.

A new kind of layer is a frozen dataclass below :class:`Layer` with ``output_shape`` and
``weight_specs``, entered in ``LAYERS``; models, summaries, diagrams and files then know it.
"""

from __future__ import annotations

from inkproof.layers.base import (
    ACTIVATIONS,
    LEAKY_SLOPE,
    MAX_UNITS,
    Initializer,
    Layer,
    Pair,
    Shape,
    WeightSpec,
    check_name,
)
from inkproof.layers.dense import Activation, BatchNormalization, Dense, Dropout, Flatten
from inkproof.layers.fused import dense_stack
from inkproof.layers.images import (
    MAX_KERNEL,
    MAX_POOL,
    PADDINGS,
    AveragePool2D,
    Conv2D,
    GlobalAveragePool2D,
    MaxPool2D,
    Windowed,
)
from inkproof.layers.registry import LAYERS, layer_from_config
from inkproof.layers.structure import (
    MAX_DEPTH,
    Place,
    Residual,
    named,
    output_shapes,
    place,
    snake_case,
    walk,
)

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LEAKY_SLOPE",
    "MAX_DEPTH",
    "MAX_KERNEL",
    "MAX_POOL",
    "MAX_UNITS",
    "PADDINGS",
    "Activation",
    "AveragePool2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool2D",
    "Initializer",
    "Layer",
    "MaxPool2D",
    "Pair",
    "Place",
    "Residual",
    "Shape",
    "WeightSpec",
    "Windowed",
    "check_name",
    "dense_stack",
    "layer_from_config",
    "named",
    "output_shapes",
    "place",
    "snake_case",
    "walk",
]
