"""How often a study's intervals hold the truth, and its verdicts are false: by simulation.

Two networks A and B answer the same images in pairs of runs. A network is right on an image if a
hidden score is above a threshold; the score is the sum of the image's own difficulty, what the
image is to this model, how good this run came out, and a rest. The shares of these are those of
``500x2`` and ``512x3`` on MNIST (docs/statistics.md), where 98 % of the images are right and most
errors recur in every run; two more settings have more of what varies between runs, or between
images. Each cell of the table is ``--studies`` studies on 10,000 new images each.

    python benchmarks/coverage.py --studies 2000 --out docs/coverage.md

The truth over new runs and new images, and that over new runs on a study's own images, follow from
the settings by integrals, not from the code under test; the variances that predict the power are
means over the studies with the most runs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from inkproof.comparison import MARGIN, Pair
from inkproof.comparison.pairs import Judged
from inkproof.comparison.verdict import decide, weigh
from inkproof.statistics import (
    LEAST_BCA,
    Crossed,
    Estimate,
    bca_interval,
    crossed_interval,
    mean_interval,
    power,
    sign_flip_interval,
)

IMAGES = 10_000
RUNS = (3, 6, 10, 30)
LEVEL = 0.95
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What varies, in a hidden score of variance 1.

    Parameters
    ----------
    wrong : the share of images that A gets wrong
    same : how a score correlates between two runs of one model
    across : and between runs of the two models
    run : standard deviation of a run's effect on the score
    paired : how the two runs of a pair correlate in it
    """

    name: str
    wrong: float = 0.0220
    same: float = 0.975
    across: float = 0.973
    run: float = 0.015
    paired: float = 0.3


SETTINGS = (
    Setting(name="as on MNIST"),
    Setting(name="runs differ more", run=0.04),
    Setting(name="models differ more by image", across=0.93),
)


class World:
    """One setting with a true difference in accuracy."""

    def __init__(self, setting: Setting, difference: float) -> None:
        self.setting = setting
        self.rest = math.sqrt(1 - setting.same)
        self.own = math.sqrt(setting.same - setting.across)
        # Images this easy are right in every run; the others are drawn from the normal tail.
        spread = math.sqrt(setting.across)
        around = math.sqrt(self.own**2 + self.rest**2 + setting.run**2)
        self.hardest = (float(ndtri(setting.wrong)) + 4.2 * around) / spread
        self.hard = float(ndtr(self.hardest))
        u = (np.arange(200_000) + 0.5) / 200_000
        difficulty = spread * ndtri(u * self.hard)

        def wrong(threshold: float) -> float:
            return self.hard * float(ndtr((threshold - difficulty) / around).mean())

        def solved(share: float) -> float:
            return float(brentq(lambda at: wrong(at) - share, -6, 0, xtol=1e-12))

        self.spread = spread
        self.thresholds = (solved(setting.wrong), solved(setting.wrong - difference))
        self.difference = difference

    def study(self, rng: np.random.Generator, runs: int) -> tuple[npt.NDArray[np.int8], float]:
        """Draw a table (runs, images) of who is right, and the truth on these very images."""
        hard = int(rng.binomial(IMAGES, self.hard))
        difficulty = self.spread * ndtri(rng.random(hard) * self.hard)
        common = rng.normal(size=runs) * math.sqrt(self.setting.paired)
        right, chances = [], []
        for threshold in self.thresholds:
            image = difficulty + self.own * rng.normal(size=hard)
            run = common + rng.normal(size=runs) * math.sqrt(1 - self.setting.paired)
            score = image + self.setting.run * run[:, np.newaxis]
            score += self.rest * rng.standard_normal((runs, hard), dtype=np.float32)
            right.append(score > threshold)
            chances.append(ndtr((image - threshold) / math.hypot(self.rest, self.setting.run)))
        table = np.zeros((runs, IMAGES), dtype=np.int8)
        table[:, :hard] = right[1].astype(np.int8) - right[0].astype(np.int8)
        return table, float((chances[1] - chances[0]).sum()) / IMAGES


@dataclass(kw_only=True)
class Count:
    """How often an interval held the truth, and its mean width."""

    held: int = 0
    n: int = 0
    width: float = 0.0

    def add(self, estimate: Estimate, truth: float) -> None:
        """Look whether an interval, if there is one, holds the truth."""
        if estimate.low is None or estimate.high is None:
            return
        self.n += 1
        self.held += estimate.low <= truth <= estimate.high
        self.width += estimate.high - estimate.low

    def text(self) -> str:
        """Write both, as a percentage and in points."""
        if not self.n:
            return "–"
        return f"{100 * self.held / self.n:.1f} ({100 * self.width / self.n:.2f})"


def pooled(table: npt.NDArray[np.int8]) -> Estimate:
    """Count runs times images as so many independent observations, which is never done."""
    mean, cells = float(table.mean()), table.size
    half = 1.959964 * math.sqrt((float(np.square(table).mean()) - mean**2) / cells)
    return Estimate(
        value=mean,
        low=mean - half,
        high=mean + half,
        level=LEVEL,
        n=cells,
        over="both",
        method="pooled",
    )


INTERVALS: dict[str, tuple[Callable[[npt.NDArray[np.int8]], Estimate], str]] = {
    "crossed": (lambda table: crossed_interval(table, LEVEL).estimate, "both"),
    "pooled": (pooled, "both"),
    "Student over runs": (
        lambda table: mean_interval(table.mean(axis=1), LEVEL, over="runs"),
        "runs",
    ),
    "sign flips over runs": (
        lambda table: sign_flip_interval(table.sum(axis=1) / IMAGES, LEVEL),
        "runs",
    ),
    "BCa over runs": (lambda table: bca_interval(table.mean(axis=1), LEVEL, draws=1999), "runs"),
}


@dataclass(kw_only=True)
class Cell:
    """One setting, difference and number of runs over all studies."""

    world: World
    runs: int
    studies: int
    counts: dict[str, Count]
    verdicts: dict[str, int]
    parts: Floats
    found: Crossed | None = None

    def said(self, *names: str) -> float:
        """Give the share of studies with one of these verdicts."""
        return sum(self.verdicts.get(name, 0) for name in names) / self.studies


def simulated(world: World, runs: int, studies: int, seed: int) -> Cell:
    rng = np.random.default_rng([seed, runs])
    cell = Cell(
        world=world,
        runs=runs,
        studies=studies,
        counts={name: Count() for name in INTERVALS},
        verdicts={},
        parts=np.zeros(3),
    )
    for _ in range(studies):
        table, on_these = world.study(rng, runs)
        for name, (interval, over) in INTERVALS.items():
            if name == "BCa over runs" and runs < LEAST_BCA:
                continue
            cell.counts[name].add(interval(table), world.difference if over == "both" else on_these)
        pairs = tuple(
            Pair(seed=row, only_a_right=0, only_b_right=0, p_mcnemar=1.0) for row in range(runs)
        )
        judged = Judged(
            pairs=pairs, gained=table, saved=np.zeros((2, 2)), right_a=(), right_b=(), same=()
        )
        evidence = weigh(judged, a="a", b="b", seeds_a=[], seeds_b=[], level=LEVEL, margin=MARGIN)
        verdict = decide(
            evidence,
            p_adjusted=evidence.p_value,
            p_equivalence=evidence.p_equivalence,
            comparisons=1,
        )
        cell.verdicts[verdict] = cell.verdicts.get(verdict, 0) + 1
        found = evidence.accuracy
        cell.parts += unguarded(table)
        cell.found = found
    cell.parts /= studies
    return cell


def unguarded(table: npt.NDArray[np.int8]) -> Floats:
    """Give the three variances without bias, so also below 0: their mean over studies is true."""
    runs, images = table.shape
    of_run, of_image = table.sum(axis=1, dtype=np.int64), table.sum(axis=0, dtype=np.int64)
    total = int(of_run.sum())
    by_run = float(of_run @ of_run) / images - total**2 / table.size
    by_image = float(of_image @ of_image) / runs - total**2 / table.size
    squares = float(np.abs(table).sum()) - total**2 / table.size  # cells are -1, 0 or 1
    rest = (squares - by_run - by_image) / ((runs - 1) * (images - 1))
    return np.array(
        [
            (by_run / (runs - 1) - rest) / images,
            (by_image / (images - 1) - rest) / runs,
            rest,
        ]
    )


def predicted(cell: Cell, parts: Floats, margin: float | None) -> float:
    assert cell.found is not None  # noqa: S101
    truth = replace(
        cell.found,
        run_variance=max(0.0, float(parts[0])),
        image_variance=max(0.0, float(parts[1])),
        rest_variance=float(parts[2]),
    )
    return power(
        truth,
        difference=cell.world.difference,
        runs=cell.runs,
        images=IMAGES,
        level=LEVEL,
        margin=margin,
        claim="difference" if margin is None else "equivalence",
    )


def rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    table = []
    for place, setting in enumerate(SETTINGS):
        for difference in args.differences:
            world = World(setting, difference)
            cells = [
                simulated(
                    world, runs, args.studies, args.seed + 1000 * place + round(1e5 * difference)
                )
                for runs in RUNS
            ]
            for cell in cells:
                ahead = cell.said("better", "better but within the margin")
                behind = cell.said("worse", "worse but within the margin")
                table.append(
                    {
                        "setting": setting.name,
                        "difference": difference,
                        "runs": cell.runs,
                        "intervals": {name: count.text() for name, count in cell.counts.items()},
                        "ahead": ahead,
                        "behind": behind,
                        "equivalent": cell.said(
                            "equivalent",
                            "better but within the margin",
                            "worse but within the margin",
                        ),
                        "power": predicted(cell, cells[-1].parts, None) if cell.runs >= 6 else 0.0,
                        "power_within": (
                            predicted(cell, cells[-1].parts, MARGIN) if cell.runs >= 6 else 0.0
                        ),
                        "parts": cells[-1].parts,
                    }
                )
                print(table[-1], flush=True)
    return table


def document(table: list[dict[str, Any]], studies: int, seconds: float) -> str:
    error = 100 * math.sqrt(0.95 * 0.05 / studies)
    lines = [
        "# Coverage, false verdicts and power",
        "",
        f"Made by `python benchmarks/coverage.py`: {studies:,} studies a row, {IMAGES:,} images"
        f" each, level 95 %, margin {100 * MARGIN:g} points; a coverage of 95 % has a simulation"
        f" error of {error:.1f} points (one standard error). {seconds / 60:.0f} minutes.",
        "",
        "## Intervals: how often they hold the truth, %, and their mean width, points",
        "",
        "*Crossed* is the interval that the verdict rests on; its truth, and that of *pooled*, is"
        " the difference over new runs and new images. *Pooled*, which Inkproof never does, counts"
        " runs times images as independent. The others speak about new runs on the study's own"
        " images. An interval by sign flips takes six runs, BCa is offered from 20.",
        "",
        "| setting | true difference | runs | " + " | ".join(INTERVALS) + " |",
        "| :-- | --: | --: |" + " --: |" * len(INTERVALS),
    ]
    for row in table:
        numbers = " | ".join(row["intervals"].values())
        lines.append(
            f"| {row['setting']} | {100 * row['difference']:.2f} | {row['runs']} | {numbers} |"
        )
    lines += [
        "",
        "## Verdicts, % of studies",
        "",
        "*Ahead* and *behind* count verdicts that B is better or worse, within the margin or not;"
        " where the true difference is 0 each of them is false. *Within* counts verdicts that the"
        " difference lies in the margin. *Predicted* is what `inkproof.statistics.power` expects.",
        "",
        "| setting | true difference | runs | ahead | predicted | behind | within | predicted |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in table:
        lines.append(
            f"| {row['setting']} | {100 * row['difference']:.2f} | {row['runs']} |"
            f" {100 * row['ahead']:.1f} | {predicted_text(row['power'], row)} |"
            f" {100 * row['behind']:.1f} | {100 * row['equivalent']:.1f} |"
            f" {100 * row['power_within']:.1f} |"
        )
    lines += [
        "",
        "## The settings",
        "",
        "Standard deviations of a difference, points: between runs, between images and the rest, in"
        " one cell of the table of runs by images.",
        "",
        "| setting | true difference | runs | images | rest |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for row in table:
        if row["runs"] == RUNS[-1]:
            parts = " | ".join(f"{100 * math.sqrt(max(0.0, part)):.2f}" for part in row["parts"])
            lines.append(f"| {row['setting']} | {100 * row['difference']:.2f} | {parts} |")
    return "\n".join(lines) + "\n"


def predicted_text(chance: float, row: dict[str, Any]) -> str:
    return "–" if row["difference"] == 0 else f"{100 * chance:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate studies of two networks.")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--differences", type=float, nargs="+", default=[0.0, 0.001])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    begin = time.perf_counter()
    text = document(rows(args), args.studies, time.perf_counter() - begin)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
