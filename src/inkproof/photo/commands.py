"""What ``inkproof predict`` and ``inkproof read`` do with a list of files.

A file that cannot be read is told on stderr, the others are still done.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from inkproof.errors import ConfigurationError, InkproofError, PictureError, StorageError
from inkproof.wording import printable

__all__ = ["predict_pictures", "read_photos", "takes_digits"]

_FEW: Final = 10  # of more files progress is shown
_EVERY_SECONDS: Final = 1.0
_LONGEST_NAME: Final = 200


def takes_digits(model: Path | None) -> bool:
    """Say whether a model reads digits; None is the shipped one, which does."""
    if model is None:
        return True
    from inkproof.model_file import read_description
    from inkproof.photo.reader import describes_reader

    return describes_reader(read_description(model))


def predict_pictures(
    paths: Sequence[Path], model: Path | None, *, show: Path | None, as_json: bool
) -> int:
    """Read one digit in each picture; print what came.

    Returns
    -------
    the exit code: 1 if a picture could not be read

    Raises
    ------
    InkproofError : the model cannot be loaded, or what it saw cannot be written
    """
    from inkproof.photo.decode import decode_picture
    from inkproof.photo.page import read_digit
    from inkproof.photo.reader import Reader

    reader = Reader.load(model)
    names = _file_names(paths, show)
    failed = False
    records: list[dict[str, Any]] = []
    for path, name in _progress(paths, names):
        try:
            found = read_digit(decode_picture(path), reader)
        except PictureError as error:
            _complain(error)
            failed = True
            continue
        called = printable(str(path), _LONGEST_NAME)
        record: dict[str, Any] = {"image": str(path), "is_digit": False, "digit": None}
        line = f"{called}: not a digit (no ink)"
        reading = found.reading
        if reading is not None:
            record |= {
                "is_digit": reading.is_digit,
                "digit": reading.digit if reading.is_digit else None,
                "nearest": reading.digit,
                "probability": reading.probability,
                "runner_up": reading.runner_up,
                "runner_up_probability": reading.runner_up_probability,
                "probabilities": list(reading.probabilities),
                "ink": reading.ink,
            }
            shown = (
                f"{reading.digit} ({reading.probability:.1%}), "
                f"then {reading.runner_up} ({reading.runner_up_probability:.1%})"
            )
            line = f"{called}: {shown}"
            if not reading.is_digit:
                line = f"{called}: not a digit (nearest: {reading.digit})"
            if show is not None:
                _write(show, name, _png(found.image))
        if as_json:
            records.append(record)
        else:
            print(line)
    if as_json:
        print(json.dumps(records, indent=1))
    return int(failed)


def read_photos(
    paths: Sequence[Path], model: Path | None, *, form: str, annotate: Path | None
) -> int:
    """Read all digits of each photo; print them as text, JSON or CSV.

    Returns
    -------
    the exit code: 1 if a photo could not be read

    Raises
    ------
    InkproofError : the model cannot be loaded, or an annotated picture cannot be written
    """
    from inkproof.photo.decode import decode_picture
    from inkproof.photo.page import read_page
    from inkproof.photo.reader import Reader

    reader = Reader.load(model)
    names = _file_names(paths, annotate)
    failed = False
    pages: list[dict[str, Any]] = []
    for path, name in _progress(paths, names):
        try:
            picture = decode_picture(path)
        except PictureError as error:
            _complain(error)
            failed = True
            continue
        page = read_page(picture, reader)
        if annotate is not None:
            from inkproof.photo.annotate import annotated_png

            _write(annotate, name, annotated_png(picture, page))
        if form == "text":
            if len(paths) > 1:
                print(f"{printable(str(path), _LONGEST_NAME)}:")
            print(page.text or "(no digits)")
        else:
            pages.append({"photo": str(path)} | page.to_json())
    if form == "json":
        print(json.dumps(pages, indent=1))
    elif form == "csv":
        print(_csv(pages), end="")
    return int(failed)


def _csv(pages: list[dict[str, Any]]) -> str:
    """Write a row for each digit; a name that a spreadsheet would compute gets an apostrophe."""
    columns = ["photo", "line", "number", "digit", "probability", "runner_up"]
    columns += ["runner_up_probability", "unsure", "left", "top", "right", "bottom"]
    out = io.StringIO()
    table = csv.DictWriter(out, columns, lineterminator="\n")
    table.writeheader()
    for page in pages:
        name = printable(page["photo"], 4096)
        name = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
        table.writerows({"photo": name} | digit for digit in page["digits"])
    return out.getvalue()


def _png(image: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def _file_names(paths: Sequence[Path], folder: Path | None) -> list[str]:
    """Name the pictures to write: as the files are called, numbered where that is taken."""
    if folder is not None:
        if folder.exists() and not folder.is_dir():
            raise ConfigurationError(f"{folder}: expected a folder, got a file")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error
    taken: set[str] = set()
    result = []
    for path in paths:
        name, number = f"{path.stem}.png", 1
        while name in taken or (folder is not None and (folder / name).resolve() == path.resolve()):
            number += 1
            name = f"{path.stem}-{number}.png"
        taken.add(name)
        result.append(name)
    return result


def _write(folder: Path, name: str, data: bytes) -> None:
    from inkproof.storage import write_bytes

    write_bytes(folder / name, data)


def _progress(paths: Sequence[Path], names: list[str]) -> Iterator[tuple[Path, str]]:
    """Go through the files; of many, say on stderr now and then how far it is."""
    last = time.monotonic()
    for done, pair in enumerate(zip(paths, names, strict=True)):
        now = time.monotonic()
        if len(paths) > _FEW and done and now - last > _EVERY_SECONDS:
            last = now
            print(f"inkproof: {done:,} of {len(paths):,} done", file=sys.stderr)
        yield pair


def _complain(error: InkproofError) -> None:
    text = printable(" ".join(str(error).split()), 500)
    print(f"inkproof: error: {text}", file=sys.stderr)
