"""The runs of two models as pairs: what each got right, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import DataError
from inkproof.evaluation import check_labels, check_probabilities, log_losses
from inkproof.statistics import mcnemar_exact
from inkproof.wording import seeds_listed

__all__ = ["MCNEMAR_SCOPE", "Judged", "Pair", "Runs", "judge"]

MCNEMAR_SCOPE: Final = "these two networks only"
"""What a pair's McNemar test speaks about: training again would give other networks."""

Runs = Mapping[int, npt.NDArray[np.float32]]
"""Seed -> class probabilities, float32 (n, k)."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The runs of one seed, on the same test images.

    Parameters
    ----------
    seed : of both runs
    only_a_right, only_b_right : images that one of the two networks got right and the other not
    p_mcnemar : exact two-sided McNemar test; it speaks about these two networks only
    """

    seed: int
    only_a_right: int
    only_b_right: int
    p_mcnemar: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """All pairs of two models, image by image; rows are pairs, seeds ascending.

    Parameters
    ----------
    pairs : what each pair shows by itself
    gained : int8 (pairs, images): 1 where only b is right, -1 where only a is, else 0
    saved : float64 (pairs, images): log loss of a minus that of b, nats
    right_a, right_b : how many images each run got right
    same : the seeds whose two runs gave the same probabilities for every image
    """

    pairs: tuple[Pair, ...]
    gained: npt.NDArray[np.int8]
    saved: npt.NDArray[np.float64]
    right_a: tuple[int, ...]
    right_b: tuple[int, ...]
    same: tuple[int, ...]

    @property
    def images(self) -> int:
        """How many test images."""
        return int(self.gained.shape[1])

    @property
    def telling(self) -> int:
        """How many images any pair of runs disagrees on."""
        return int(np.count_nonzero(self.gained.any(axis=0)))


def judge(name_a: str, runs_a: Runs, name_b: str, runs_b: Runs, labels: npt.ArrayLike) -> Judged:
    """Pair the runs of two models and judge each on every image.

    Raises
    ------
    DataError : no seed in common, no images, or probabilities that are none
    """
    where = f"compare {name_a} with {name_b}"
    seeds = sorted(runs_a.keys() & runs_b.keys())
    if not seeds:
        raise DataError(
            f"{where}: expected a seed that both have, got {seeds_listed(sorted(runs_a))} and"
            f" {seeds_listed(sorted(runs_b))}"
        )
    shape = np.shape(runs_a[seeds[0]])
    if len(shape) != 2:
        raise DataError(
            f"{where}: {name_a}, seed {seeds[0]}: probabilities must have shape (images, classes),"
            f" got {shape}"
        )
    truth = check_labels(labels, classes=shape[1], where=where)
    pairs, same, rights_a, rights_b = [], [], [], []
    gained = np.empty((len(seeds), len(truth)), dtype=np.int8)
    saved = np.empty((len(seeds), len(truth)))
    for row, seed in enumerate(seeds):
        a, b = (
            check_probabilities(
                runs[seed],
                images=len(truth),
                classes=shape[1],
                where=f"{where}: {name}, seed {seed}: probabilities",
            )
            for name, runs in ((name_a, runs_a), (name_b, runs_b))
        )
        right_a, right_b = a.argmax(axis=1) == truth, b.argmax(axis=1) == truth
        gained[row] = right_b.astype(np.int8) - right_a.astype(np.int8)
        saved[row] = log_losses(a, truth) - log_losses(b, truth)
        only_a = int(np.count_nonzero(gained[row] < 0))
        only_b = int(np.count_nonzero(gained[row] > 0))
        pairs.append(
            Pair(
                seed=int(seed),
                only_a_right=only_a,
                only_b_right=only_b,
                p_mcnemar=mcnemar_exact(only_a, only_b),
            )
        )
        rights_a.append(int(np.count_nonzero(right_a)))
        rights_b.append(int(np.count_nonzero(right_b)))
        if np.array_equal(a, b):
            same.append(int(seed))
    return Judged(
        pairs=tuple(pairs),
        gained=gained,
        saved=saved,
        right_a=tuple(rights_a),
        right_b=tuple(rights_b),
        same=tuple(same),
    )
