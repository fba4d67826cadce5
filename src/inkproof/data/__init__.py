"""Images with labels, where they come from, and what is wrong with them."""

from __future__ import annotations

from inkproof.data.checks import Description, check, check_source, describe
from inkproof.data.dataset import Dataset, Split
from inkproof.data.pictures import read_image
from inkproof.data.sources import load

__all__ = [
    "Dataset",
    "Description",
    "Split",
    "check",
    "check_source",
    "describe",
    "load",
    "read_image",
]
