"""Draw the README's picture of how many times as long the peers take, from results/*.json.

    python benchmarks/picture.py

The newest file of each workload counts, the same that RESULTS.md begins its section with; without a
peer in it there is nothing to compare. A bar is the median over rounds, the line on it reaches from
the smallest to the largest, with an arrow where that lies outside the picture. Writes
``docs/speed.png`` and ``docs/speed-dark.png``.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from inkproof.figures.style import (
    THEMES,
    Theme,
    axes_styled,
    colours_of,
    drawn,
    new_figure,
    save,
)
from render import ratios

FOLDER: Final = Path(__file__).resolve().parent
PANELS: Final = {
    "500x2": "784-500-500-10 on MNIST",
    "512x3": "784-512-512-512-10 on MNIST",
    "500x2-dense": "784-500-500-10, no zero inputs",
    "convnet": "Keras' convolutional example",
    "convnet-bn": "the same with batch normalization",
}
SHORT: Final = {
    "PyTorch, eager, channels_last": "PyTorch, channels_last",
    "PyTorch, eager, channels_last, bfloat16 autocast": "PyTorch, bfloat16 autocast",
}


def newest(results: Path) -> dict[str, dict[str, Any]]:
    """Read the newest measurement of each panel's workload."""
    found: dict[str, dict[str, Any]] = {}
    for path in results.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        name = content["workload"]
        if name in PANELS and content["date"] > found.get(name, {"date": ""})["date"]:
            found[name] = content
    return {name: found[name] for name in PANELS if name in found and has_peers(found[name])}


def has_peers(content: dict[str, Any]) -> bool:
    """Say whether anyone else was measured at the same training."""
    return any(
        who.get("kind", "training") == "training" and not who["name"].startswith("inkproof")
        for who in content["participants"]
    )


@drawn
def picture(contents: dict[str, dict[str, Any]], theme: Theme) -> Figure:
    """Draw a panel a workload: how many times as long as Inkproof in float32 each program takes."""
    colours = colours_of(theme)
    bars = {
        name: [
            (
                SHORT.get(who["label"], who["label"]),
                ratios(who, content["participants"][0]),
                who["name"].startswith("inkproof"),
            )
            for who in sorted(
                content["participants"], key=lambda who: not who["name"].startswith("inkproof")
            )
            if who.get("kind", "training") == "training"
        ]
        for name, content in contents.items()
    }
    heights = [len(rows) + 1.4 for rows in bars.values()]
    figure = new_figure(8.2, 0.26 * sum(heights) + 0.5, colours)
    panels = figure.subplots(len(bars), 1, sharex=True, height_ratios=heights, squeeze=False)
    limit = 1.45 * max(statistics.median(values) for rows in bars.values() for _, values, _ in rows)
    for axes, (name, rows) in zip(panels[:, 0], bars.items(), strict=True):
        axes_styled(axes, colours, grid="x")
        axes.set_title(PANELS[name], loc="left", color=colours.ink)
        for at, (_, values, is_ours) in enumerate(rows):
            middle = statistics.median(values)
            shade = colours.first if is_ours else colours.second
            axes.barh(at, middle, height=0.7, color=shade)
            if len(set(values)) > 1:
                axes.plot([min(values), max(values)], [at, at], color=colours.muted, linewidth=1.2)
            if max(values) > limit:
                axes.plot(limit, at, ">", color=colours.muted, markersize=5, clip_on=False)
        axes.set_yticks(
            range(len(rows)),
            [f"{label}   {statistics.median(values):.1f}" for label, values, _ in rows],
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, limit)
    panels[-1, 0].set_xlabel(
        "seconds an epoch over those of Inkproof in float32, same cores, in turn"
    )
    return figure


def main() -> int:
    contents = newest(FOLDER / "results")
    if not contents:
        print("no results: run `make bench` first", file=sys.stderr)
        return 1
    for theme in THEMES:
        name = "speed.png" if theme == "light" else f"speed-{theme}.png"
        print(save(picture(contents, theme), FOLDER.parent / "docs" / name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
