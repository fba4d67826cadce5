"""Images with labels, where they come from, and what is wrong with them."""

from __future__ import annotations

from inkproof.data.checks import Description, check, describe
from inkproof.data.dataset import Dataset, Split
from inkproof.data.pictures import read_image
from inkproof.data.sources import load

__all__ = ["Dataset", "Description", "Split", "check", "describe", "load", "read_image"]
