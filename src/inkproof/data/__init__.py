"""Images with labels, where they come from, and what is wrong with them."""

from inkproof.data.dataset import Dataset, Split
from inkproof.data.sources import load

__all__ = ["Dataset", "Split", "load"]
