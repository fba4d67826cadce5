"""Arrays in, figures out: sample grids, curves, heat maps.

Each function gives a :class:`matplotlib.figure.Figure`, made without pyplot, in a light or a dark
theme; :func:`save` writes it, the same bytes each time. Drawing sets matplotlib's global settings
for its duration, so only one thread may draw at a time.
"""

from __future__ import annotations

from inkproof.figures.charts import (
    MOST_BARS,
    class_counts,
    curves,
    difference,
    probabilities,
    scores,
)
from inkproof.figures.evidence import FitMeasure, coverage, fit, reliability, small_multiples
from inkproof.figures.heatmap import confusion, contrast, heat, heat_shares
from inkproof.figures.pictures import image_grid, mistakes_gallery, pixel_array, predictions
from inkproof.figures.style import (
    THEMES,
    Theme,
    ThemeColours,
    recoloured,
    render,
    save,
    share_text,
    shortened,
)

__all__ = [
    "MOST_BARS",
    "THEMES",
    "FitMeasure",
    "Theme",
    "ThemeColours",
    "class_counts",
    "confusion",
    "contrast",
    "coverage",
    "curves",
    "difference",
    "fit",
    "heat",
    "heat_shares",
    "image_grid",
    "mistakes_gallery",
    "pixel_array",
    "predictions",
    "probabilities",
    "recoloured",
    "reliability",
    "render",
    "save",
    "scores",
    "share_text",
    "shortened",
    "small_multiples",
]
