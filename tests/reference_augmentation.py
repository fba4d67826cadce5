"""Augmentation in plain float64 NumPy: the same draws as the engine's, resampled as defined.

Written for reading, not for speed. :func:`philox` is Philox4x32-10 of Salmon, Moraes, Dror and
Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import numpy as np

__all__ = ["augmented", "draws", "mixed", "normals", "philox", "sampled"]

AUGMENTATION = 2  # Draw::augmentation
FIRST, SECOND, ELASTIC = 0, 1, 2  # the places of an image's draws
WORD = (1 << 32) - 1


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> list[int]:
    """Four random 32-bit words, in Python's own whole numbers."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & WORD, (a >> 32) ^ c3 ^ k1, a & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return [c0, c1, c2, c3]


def words(seed: int, epoch: int, row: int, place: int) -> list[int]:
    return philox((seed & WORD, seed >> 32), (place, row, epoch, AUGMENTATION))


def unit(word: int) -> float:
    """From [0, 1), with 24 bits."""
    return (word >> 8) / 2.0**24


def in_single(options: dict[str, float]) -> dict[str, float]:
    """The options as the engine holds them; what is too small for float32 is off."""
    return {key: float(np.float32(value)) for key, value in options.items()}


def draws(options: dict[str, float], seed: int, epoch: int, row: int) -> dict[str, float]:
    """What was drawn for one image, in the units of the options."""
    single = in_single(options)
    first, second = words(seed, epoch, row, FIRST), words(seed, epoch, row, SECOND)
    return {
        "is_touched": unit(first[0]) < single["probability"],
        "shift_x": (2 * unit(first[1]) - 1) * single["shift_x"],
        "shift_y": (2 * unit(first[2]) - 1) * single["shift_y"],
        "rotation": (2 * unit(first[3]) - 1) * single["rotation"],
        "scale": 1 + (2 * unit(second[0]) - 1) * single["scale"],
        "shear": (2 * unit(second[1]) - 1) * single["shear"],
        "cutout_x": second[2] / 2**32,
        "cutout_y": second[3] / 2**32,
    }


def normals(count: int, seed: int, epoch: int, row: int) -> np.ndarray:
    """Standard normal numbers (count, 2), by Box and Muller (1958)."""
    numbers = []
    for k in range(count):
        word = words(seed, epoch, row, ELASTIC + k // 2)[2 * (k % 2) :]
        radius = np.sqrt(-2 * np.log(unit(word[0]) + 2.0**-24))
        turn = 2 * np.pi * unit(word[1])
        numbers.append([radius * np.cos(turn), radius * np.sin(turn)])
    return np.array(numbers)


def spline(t: np.ndarray) -> np.ndarray:
    """The cubic B-spline, of width 4 about 0."""
    t = np.abs(t)
    inner = 2 / 3 - t**2 + t**3 / 2
    return np.where(t < 1, inner, np.where(t < 2, (2 - t) ** 3 / 6, 0.0))


def displacements(height: int, width: int, grid: int, points: np.ndarray) -> np.ndarray:
    """(height, width, 2) from control points (grid + 2, grid + 2, 2), one beyond each edge."""

    def weights(places: int) -> np.ndarray:
        at = np.linspace(0, grid - 1, places) if places > 1 else np.zeros(1)
        return spline(at[:, None] - np.arange(-1, grid + 1)[None, :])

    return np.einsum("yi,xj,ijd->yxd", weights(height), weights(width), points)


def sampled(image: np.ndarray, x: np.ndarray, y: np.ndarray, fill: float) -> np.ndarray:
    """Bilinear interpolation of (height, width, channels); everything outside is fill."""
    height, width, channels = image.shape
    around = np.full((height + 2, width + 2, channels), float(fill))
    around[1:-1, 1:-1] = image
    x, y = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
    left = np.minimum(np.floor(x).astype(int), width)
    top = np.minimum(np.floor(y).astype(int), height)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    upper = around[top, left] * (1 - fx) + around[top, left + 1] * fx
    lower = around[top + 1, left] * (1 - fx) + around[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


def sources(shape, options, seed, epoch, row) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the result comes from: x and y, (height, width)."""
    height, width, _ = shape
    options = in_single(options)
    drawn = draws(options, seed, epoch, row)
    angle = np.radians(drawn["rotation"])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, drawn["shear"]], [0, 1]])
    forward = turn @ slant * drawn["scale"]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = np.array([drawn["shift_x"], drawn["shift_y"]])
    y, x = np.mgrid[:height, :width]
    places = np.stack([x, y], axis=-1) - centre - shift
    places = places @ np.linalg.inv(forward).T + centre
    if options["elastic"] > 0:
        grid = int(options["elastic_grid"])
        points = normals((grid + 2) ** 2, seed, epoch, row).reshape(grid + 2, grid + 2, 2)
        points = 2 * options["elastic"] * points
        places = places + displacements(height, width, grid, points)
    return places[..., 0], places[..., 1]


def augmented(image, options, *, seed: int, epoch: int, row: int) -> np.ndarray:
    """One image (height, width, channels), in float64."""
    height, width, _ = image.shape
    image = image.astype(np.float64)
    options = in_single(options)
    drawn = draws(options, seed, epoch, row)
    if not drawn["is_touched"]:
        return image
    fill = options["fill"]
    kinds = ("shift_x", "shift_y", "rotation", "scale", "shear", "elastic")
    if any(options[kind] for kind in kinds):
        x, y = sources(image.shape, options, seed, epoch, row)
        image = sampled(image, x, y, fill)
    if options["cutout"] > 0:
        side = max(1, int(np.floor(options["cutout"] * min(height, width) + 0.5)))
        left = int(drawn["cutout_x"] * width) - side // 2
        top = int(drawn["cutout_y"] * height) - side // 2
        image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = fill
    return image


def mixed(images, targets, shares, partners) -> tuple[np.ndarray, np.ndarray]:
    """Mixup (Zhang et al., ICLR 2018): a share of each image and target, the rest its partner's.

    images (n, ...), targets (n, classes) with rows that add up to 1, shares (n,) from 0 to 1,
    partners (n,) rows of the same arrays.
    """
    images, targets = np.asarray(images, np.float64), np.asarray(targets, np.float64)
    shares = np.asarray(shares, np.float64)

    def mix(numbers: np.ndarray) -> np.ndarray:
        share = shares.reshape(-1, *[1] * (numbers.ndim - 1))
        return share * numbers + (1 - share) * numbers[partners]

    return mix(images), mix(targets)
