"""Draw what each augmentation does, for docs/augmentation.md.

    .venv/bin/python scripts/draw_augmentations.py

The digits are the first training image of each class, as the engine changes them with seed 0.
Takes about two seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from inkproof import Augmentation, load
from inkproof.figures import save

FOLDER = Path(__file__).parent.parent / "docs" / "augmentation"
KINDS = {
    "shift": Augmentation(shift=4),
    "rotation": Augmentation(rotation=25),
    "scale": Augmentation(scale=0.3),
    "shear": Augmentation(shear=0.5),
    "elastic": Augmentation(elastic=1.5),
    "cutout": Augmentation(cutout=0.4, fill=128),
    "together": Augmentation(shift=2, rotation=10, scale=0.1, shear=0.1, elastic=0.7),
}
SHARES = (1.0, 0.75, 0.5, 0.25)
TILE, LABEL, HEAD, GAP = 0.62, 0.85, 0.36, 0.05  # inches

Images = npt.NDArray[np.uint8]


def rows_of_images(title: str, rows: dict[str, Images]) -> Figure:
    """Draw rows of images (n, height, width), each with its name on the left."""
    across = max(len(images) for images in rows.values())
    width = LABEL + across * (TILE + GAP) + GAP
    height = HEAD + len(rows) * (TILE + GAP) + GAP
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(GAP * 2 / width, 1 - HEAD / 2 / height, title, fontsize=10, va="center")
    for row, (name, images) in enumerate(rows.items()):
        below = height - HEAD - (row + 1) * (TILE + GAP)
        middle = (below + TILE / 2) / height
        figure.text(GAP * 2 / width, middle, name, fontsize=9, va="center")
        for column, image in enumerate(images):
            left = LABEL + column * (TILE + GAP)
            axes = figure.add_axes((left / width, below / height, TILE / width, TILE / height))
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.axis("off")
    return figure


def main() -> None:
    """Write one picture for each kind."""
    train = load("mnist").train
    first = [int(np.argmax(train.labels == digit)) for digit in range(10)]
    digits = train.images[first]
    FOLDER.mkdir(exist_ok=True)
    for name, kind in KINDS.items():
        given = [key for key, value in kind.config().items() if value != _DEFAULTS[key]]
        title = f"Augmentation({', '.join(f'{key}={getattr(kind, key):g}' for key in given)})"
        rows = {"original": digits[..., 0]}
        for epoch in (1, 2, 3):
            rows[f"epoch {epoch}"] = kind.preview(digits, epoch=epoch)[..., 0]
        save(rows_of_images(title, rows), FOLDER / f"{name}.png")
    partners = np.roll(digits, -3, axis=0)
    rows = {}
    for share in SHARES:
        mixed = share * digits.astype(float) + (1 - share) * partners
        rows[f"share {share:g}"] = np.rint(mixed).astype(np.uint8)[..., 0]
    rows["partner"] = partners[..., 0]
    save(
        rows_of_images("mixup: a share of an image, the rest its partner's", rows),
        FOLDER / "mixup.png",
    )


_DEFAULTS = Augmentation().config()

if __name__ == "__main__":
    main()
