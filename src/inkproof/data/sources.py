"""Where images come from."""

from __future__ import annotations

from pathlib import Path

from inkproof.data.dataset import Dataset
from inkproof.data.mnist import load_mnist
from inkproof.errors import UnknownNameError

__all__ = ["load"]


def load(source: str | Path) -> Dataset:
    """Load a data set by its name."""
    if source == "mnist":
        return load_mnist()
    raise UnknownNameError("data set", str(source), ["mnist"])
