"""Hypothesis strategies and random draws that several tests share."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inkproof.data import Split

__all__ = ["byte_arrays", "image_arrays", "labels_of", "random_weights", "splits"]


def byte_arrays(dimensions: int, largest: int = 6) -> st.SearchStrategy[np.ndarray]:
    """uint8 arrays with so many dimensions, none of them empty."""
    shapes = hnp.array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=largest)
    return hnp.arrays(np.uint8, shapes)


def image_arrays(count: int) -> st.SearchStrategy[np.ndarray]:
    """uint8 (count, height, width, channels), grey or colour."""
    shapes = st.tuples(
        st.just(count), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3])
    )
    return shapes.flatmap(lambda shape: hnp.arrays(np.uint8, shape))


@st.composite
def labels_of(draw: st.DrawFn, classes: int, most: int = 300) -> np.ndarray:
    """int64 (n,), n at least 2; classes may be without images, and of very different sizes."""
    count = draw(st.integers(2, most))
    weights = draw(st.lists(st.integers(0, 9), min_size=classes, max_size=classes))
    shares = np.array(weights, dtype=float) + (1e-9 if any(weights) else 1.0)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.choice(classes, size=count, p=shares / shares.sum()).astype(np.int64)


@st.composite
def splits(draw: st.DrawFn, role: str = "train", most: int = 300) -> Split:
    """Training splits of 1 to 12 classes, whose images are 1 x 2 and hold their own row number."""
    classes = draw(st.integers(1, 12))
    labels = draw(labels_of(classes, most))
    numbers = np.arange(len(labels))
    images = np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8)
    return Split(
        images=images.reshape(-1, 1, 2, 1),
        labels=labels,
        role=role,
        class_names=tuple(f"class {number}" for number in range(classes)),
    )


def random_weights(sizes, rng):
    """Draw Glorot-uniform kernels and small biases for a stack of dense layers of these sizes."""
    weights = []
    for inputs, units in itertools.pairwise(sizes):
        limit = np.sqrt(6 / (inputs + units))
        weights.append(rng.uniform(-limit, limit, (inputs, units)).astype(np.float32))
        weights.append(rng.uniform(-0.1, 0.1, units).astype(np.float32))
    return weights
