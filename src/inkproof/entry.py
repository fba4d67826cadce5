"""Where the command line begins, and how it ends.

To import the parser of all commands takes as long as to read a page: Typer brings pydantic along.
So ``predict`` and ``read`` with pictures and options that are beyond doubt go straight to their
work. All else, whatever is wrong among it, goes to :mod:`inkproof.cli`, which has the same commands
with their help.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from inkproof.errors import Cancelled, InkproofError
from inkproof.wording import printable

__all__ = ["main"]

_INTERRUPTED: Final = 130
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # nothing but writing gives them
_FORMS: Final = ("text", "json", "csv")
_LONGEST: Final = 4000  # of a message


def main() -> None:
    """Run the command line and leave with its exit code.

    0 done, 1 the work failed (one line on stderr), 2 wrong usage, 130 interrupted.
    """
    try:
        _run_and_tell()
    finally:
        _flush_or_drop()


def _run_and_tell() -> None:
    try:
        code = _run()
        if sys.stdout is not None:  # None: it was closed from the beginning
            sys.stdout.flush()  # here, where one that takes nothing is answered
        sys.exit(code)
    except Cancelled as error:
        _tell(str(error))
        sys.exit(_INTERRUPTED)
    except KeyboardInterrupt:
        _tell("interrupted")
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        # What typer makes of Ctrl-C.
        if end.code == _INTERRUPTED:
            _tell("interrupted")
        raise
    except BrokenPipeError:
        # Whoever read the output has gone.
        sys.exit(1)
    except InkproofError as error:
        if "--traceback" in sys.argv:
            raise
        _tell(f"error: {error}")
        sys.exit(1)
    except Exception as error:
        if "--traceback" in sys.argv:
            raise
        if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
            # Not a file: one that cannot be written is a StorageError long before.
            _tell(f"error: the output cannot be written: {error.strerror}")
            sys.exit(1)
        _tell(
            f"error: {type(error).__name__}: {error} "
            "(not foreseen: please report it; inkproof --traceback ... shows where)"
        )
        sys.exit(1)


def _run() -> int | str | None:
    """Do what the command line says; give the exit code."""
    work = _direct(sys.argv[1:])
    if work is not None:
        return work()
    from inkproof.cli import app

    try:
        app(standalone_mode=True)
    except SystemExit as end:
        return end.code
    return 0


def _flush_or_drop() -> None:
    """Write what is left; what cannot be written goes nowhere, or Python would complain at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # told already, if not something worse
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _direct(arguments: Sequence[str]) -> Callable[[], int] | None:
    """Give the work of ``predict`` or ``read``; None where the parser has to look at it."""
    command, words = (arguments[0], arguments[1:]) if arguments else ("", ())
    takes = {"predict": ("--model", "--show"), "read": ("--model", "--annotate", "--format")}
    if command not in takes:
        return None
    paths: list[Path] = []
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "--json" and command == "predict":
            given[word] = ""
        elif word in takes[command] and word not in given:
            given[word] = next(rest, "-")
        elif not word or word.startswith("-"):
            return None
        else:
            paths.append(Path(word))
    form = given.get("--format", "text")
    if not paths or form not in _FORMS or any(word.startswith("-") for word in given.values()):
        return None
    # NumPy is imported here, and a third of that begins threads for products of large matrices:
    # there are none.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from inkproof.photo.commands import predict_pictures, read_photos, takes_digits

    model, show, annotate = (
        Path(given[name]) if name in given else None for name in ("--model", "--show", "--annotate")
    )
    if command == "read":
        return lambda: read_photos(paths, model, form=form, annotate=annotate)
    if not takes_digits(model):
        return None
    return lambda: predict_pictures(paths, model, show=show, as_json="--json" in given)


def _tell(message: str) -> None:
    print(f"inkproof: {printable(' '.join(message.split()), _LONGEST)}", file=sys.stderr)
