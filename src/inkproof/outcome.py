"""What the finished runs of a study come to, as the records of ``results.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inkproof.comparison import Comparison, compare, rank
from inkproof.comparison.pairs import Runs
from inkproof.data import Split
from inkproof.errors import InkproofError
from inkproof.results import (
    ComparisonResult,
    PairResult,
    RankingResult,
    RobustnessResult,
    TrustResult,
)
from inkproof.robustness import CHANGES, Predicts, count_right, summarise
from inkproof.run_folder import Extras, read_extras, read_model, write_extras
from inkproof.trust import Judgement, trust

if TYPE_CHECKING:
    from inkproof.model import Model

__all__ = ["Sharer", "asked", "compared", "robust", "stored_or_asked", "trusted"]


@dataclass(frozen=True, kw_only=True)
class Sharer:
    """A trained model that is asked while other runs are at work on the same cores.

    Parameters
    ----------
    model : which one
    threads : gives how many threads are its own
    """

    model: Model
    threads: Callable[[], int]

    def predict(self, images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        """Give class probabilities, as :meth:`inkproof.Model.predict` does."""
        return self.model.predict(images, threads=self.threads())


def asked(model: Predicts, validation: Split, test: Split) -> Extras:
    """Ask a trained model what trust and robustness rest on."""
    images, right = count_right(model, test.images, test.labels)
    return Extras(
        validation=model.predict(validation.images), changed_images=images, changed_right=right
    )


def stored_or_asked(
    folder: Path, validation: Split, test: Split, threads: Callable[[], int]
) -> Extras | None:
    """Read what a complete run's model was asked, or ask it now and write that down.

    Parameters
    ----------
    threads : gives how many threads are the run's own

    Returns
    -------
    None if the model cannot be read
    """
    found = read_extras(
        folder,
        images=len(validation),
        classes=test.num_classes,
        strengths={name: len(change.strengths) for name, change in CHANGES.items()},
    )
    if found is None:
        try:
            model = Sharer(model=read_model(folder), threads=threads)
            found = asked(model, validation, test)
        except (InkproofError, OSError):
            return None
        write_extras(folder, found)
    return found


def trusted(
    name: str,
    runs: Mapping[int, tuple[npt.NDArray[np.float32], Extras | None, npt.NDArray[np.int64]]],
    labels: npt.ArrayLike,
) -> TrustResult:
    """Judge the probabilities of one model's runs.

    Parameters
    ----------
    runs : seed -> probabilities of the test images, what the model was asked, and the labels of
        its validation images
    labels : of the test images
    """
    whole = all(extras is not None for _, extras, _ in runs.values())
    return trust(
        [
            Judgement(
                test=test,
                validation=(extras.validation, truth) if whole and extras is not None else None,
            )
            for test, extras, truth in runs.values()
        ],
        labels,
        name=name,
    )


def robust(name: str, runs: Mapping[int, Extras | None]) -> RobustnessResult | None:
    """Put together how one model's runs bear changed images; None if one was not asked."""
    found = [extras for extras in runs.values() if extras is not None]
    if len(found) < len(runs):
        return None
    return summarise([extras.changed_right for extras in found], found[0].changed_images, name=name)


def compared(
    models: Mapping[str, Runs], labels: npt.ArrayLike, *, margin: float
) -> tuple[list[ComparisonResult], RankingResult | None]:
    """Compare every two models; more than two are ranked.

    Parameters
    ----------
    models : name -> seed -> probabilities of the test images, float32 (n, k)
    labels : the true classes, (n,)
    margin : a difference in accuracy within it counts as none, a share
    """
    names = list(models)
    if len(names) < 2:
        return [], None
    if len(names) == 2:
        a, b = names
        return [_record(compare(a, models[a], b, models[b], labels, margin=margin))], None
    ranking = rank(models, labels, margin=margin)
    return [_record(one) for one in ranking.comparisons], RankingResult(
        ranks=dict(ranking.ranks),
        least_pairs=ranking.least_pairs,
        explanation=ranking.explanation,
    )


def _record(comparison: Comparison) -> ComparisonResult:
    fields = {name: getattr(comparison, name) for name in ComparisonResult.model_fields}
    fields["pairs"] = [PairResult(**dataclasses.asdict(pair)) for pair in comparison.pairs]
    fields["findings"] = list(comparison.findings)
    return ComparisonResult(**fields)
