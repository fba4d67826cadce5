"""A study's result as a report: one HTML file, Markdown with figures, or a page for Jekyll.

A report computes nothing: every number in it comes from the result, every image from the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import StorageError, UnknownNameError
from inkproof.report.inputs import LabelledData, LabelledImages, checked
from inkproof.report.markdown import Page, jekyll_page, markdown_page
from inkproof.report.page import html_page
from inkproof.results import StudyResult
from inkproof.storage import write_bytes

__all__ = ["FORMATS", "LabelledData", "LabelledImages", "write_report"]

FORMATS: Final = ("html", "markdown", "jekyll")


def write_report(
    result: StudyResult,
    folder: str | Path,
    *,
    dataset: LabelledData,
    probabilities: Mapping[tuple[str, int], npt.NDArray[np.float32]],
    formats: Sequence[str] = ("html", "markdown"),
) -> list[Path]:
    """Write a study's report.

    - ``html``: ``report.html``, one file that opens from disk without a network
    - ``markdown``: ``report.md`` and ``figures/01-….png``
    - ``jekyll``: ``<name>.md`` with the front matter ``name, tools, image, description`` and
      ``assets/img/<name>/01-….png``, where name is the study's, as it may stand in an address

    A file that is there already is replaced in one step; the page comes after its figures.

    Parameters
    ----------
    result : what the study found
    folder : made where it is missing
    dataset : the one that the study ran on, an :class:`inkproof.Dataset`
    probabilities : (model, seed) -> float32 (n, k) on the test images; a run that is missing is
        shown without the probabilities of single images
    formats : some of ``FORMATS``

    Returns
    -------
    the files, in the order in which they were written

    Raises
    ------
    UnknownNameError : another format
    DataError : no run, another dataset, or probabilities of another shape
    StorageError : a full disk, a folder without permission
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("report format", name, FORMATS)
    material = checked(result, dataset, probabilities)
    target = Path(folder)
    written: list[Path] = []
    if "html" in formats:
        written.append(_write(target / "report.html", html_page(material).encode("utf-8")))
    if "markdown" in formats:
        written += _write_page(target, markdown_page(material))
    if "jekyll" in formats:
        written += _write_page(target, jekyll_page(material))
    return written


def _write_page(folder: Path, page: Page) -> list[Path]:
    files = [_write(folder / name, content) for name, content in page.files.items()]
    return [*files, _write(folder / page.name, page.text.encode("utf-8"))]


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent}: cannot be made: {error.strerror or error}") from error
    write_bytes(path, content)
    return path
