"""Hold a study's curves against the published ones.

    python benchmarks/published.py runs/notebook

For each model and epoch: the mean validation accuracy over the seeds must lie within
max(0.6 points, three standard errors of the published split of 6,000 images) of the published one,
and each run's test accuracy between 97.4 and 98.3 %. Exit code 1 where it does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from inkproof.results import StudyResult

PUBLISHED_IMAGES = 6000
LEAST_BOUND = 0.006
TEST_RANGE = (0.974, 0.983)


def main() -> int:
    result = StudyResult.load(Path(sys.argv[1]) / "results.json")
    failures = 0
    for model in result.models:
        if model.published is None:
            continue
        published = np.array(model.published["val_accuracy"])
        ours = np.mean([run.history["val_accuracy"] for run in model.runs], axis=0)
        error = 3 * np.sqrt(published * (1 - published) / PUBLISHED_IMAGES)
        bound = np.maximum(LEAST_BOUND, error)
        used = np.abs(ours - published) / bound
        worst = int(used.argmax())
        accuracies = [run.test.accuracy for run in model.runs]
        print(
            f"{model.name}: {len(model.runs)} seeds, {len(ours)} epochs; furthest from the "
            f"published curve in epoch {worst + 1}: {100 * (ours - published)[worst]:+.2f} points, "
            f"{used[worst]:.0%} of the bound; test accuracy {100 * min(accuracies):.2f} to "
            f"{100 * max(accuracies):.2f} %"
        )
        failures += int((used > 1).sum())
        failures += sum(not TEST_RANGE[0] <= a <= TEST_RANGE[1] for a in accuracies)
    print("within the bounds" if failures == 0 else f"{failures} outside the bounds")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
