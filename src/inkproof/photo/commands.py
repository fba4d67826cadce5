"""What ``inkproof predict`` and ``inkproof read`` do with a list of files.

A file that cannot be read is told on stderr, the others are still done.
"""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from inkproof.errors import ConfigurationError, InkproofError, PictureError, StorageError
from inkproof.wording import printable

__all__ = ["predict_pictures", "read_photos", "takes_digits"]

_FEW: Final = 10  # of more files progress is shown
_EVERY_SECONDS: Final = 1.0
_LONGEST_NAME: Final = 200
_LIES: Final = {
    90: "the page seems to lie on its side; turn it by a quarter against the clock",
    180: "the page seems to be upside down",
    270: "the page seems to lie on its side; turn it by a quarter with the clock",
}
_HEAD: Final = 33  # bytes of a PNG's signature and header: the first chunk of any kind comes then
_SHOWN: Final = b"Software\0inkproof predict --show"
_ANNOTATED: Final = b"Software\0inkproof read --annotate"


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

    What the model saw goes into the folder ``show`` under the pictures' names. A picture that is
    read, or a file that an earlier call did not write there, is never replaced: see
    :func:`_file_names`.

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
    names = _file_names(paths, show, _SHOWN)
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
                _write(show, name, _marked(_png(found.image), _SHOWN))
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

    A page that seems to be turned by a quarter or by half is told on stderr.

    Annotated photos go into the folder ``annotate`` as :func:`predict_pictures` has it.

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
    names = _file_names(paths, annotate, _ANNOTATED)
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
        if page.turned:
            called = printable(str(path), _LONGEST_NAME)
            print(f"inkproof: note: {called}: {_LIES[page.turned]}", file=sys.stderr)
        if annotate is not None:
            from inkproof.photo.annotate import annotated_png

            drawn = annotated_png(picture, page)
            _write(annotate, name, _marked(drawn, _ANNOTATED))
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


def _marked(png: bytes, mark: bytes) -> bytes:
    """Put a tEXt chunk behind a PNG's header: by it the file is known as ours."""
    checked = b"tEXt" + mark
    chunk = struct.pack(">I", len(mark)) + checked + struct.pack(">I", zlib.crc32(checked))
    return png[:_HEAD] + chunk + png[_HEAD:]


def _file_names(paths: Sequence[Path], folder: Path | None, mark: bytes) -> list[str]:
    """Name the pictures to write: as the files are called, numbered where that is taken.

    Taken are the names of this call's other pictures, those of all files that are read, and those
    of files that are there already, unless their mark says that an earlier call wrote them: only
    these are replaced.
    """
    if folder is None:
        return [path.name for path in paths]
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder}: expected a folder, got a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error
    # Not Path.resolve, which raises where links go round.
    read = {os.path.realpath(path) for path in paths}
    taken: set[str] = set()
    result = []
    for path in paths:
        name, number = f"{path.stem}.png", 1
        while name in taken or _is_anothers(folder / name, read, mark):
            number += 1
            name = f"{path.stem}-{number}.png"
        taken.add(name)
        result.append(name)
    return result


def _is_anothers(target: Path, read: set[str], mark: bytes) -> bool:
    """Say whether a file lies there that is read, or that no earlier call wrote."""
    if os.path.realpath(target) in read:  # even one that is not there: it is not ours to make
        return True
    if not os.path.lexists(target):
        return False
    if not target.is_file():
        return True
    try:
        with target.open("rb") as handle:
            head = handle.read(_HEAD + 8 + len(mark))
    except OSError:
        return True
    return head[_HEAD + 4 :] != b"tEXt" + mark


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
