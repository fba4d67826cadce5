"""The runner's end of the conversation with its workers; ``peers/turns.py`` is the other."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import machine
from environments import PEERS_FOLDER, Peer, environment_variables

__all__ = ["Worker", "WorkerError", "rounds", "started"]

TAIL_LINES = 15


class WorkerError(Exception):
    """A worker ended or said something that is no answer."""


class Worker:
    """A process that does an epoch when it is asked to, and waits otherwise."""

    def __init__(self, peer: Peer, process: subprocess.Popen[str], log: Path) -> None:
        self.peer = peer
        self._requests = cast("IO[str]", process.stdin)  # both are pipes
        self._answers = cast("IO[str]", process.stdout)
        self._log = log
        self.facts: dict[str, Any] = self._answer()["ready"]

    def epoch(self) -> dict[str, Any]:
        """Have one epoch done; give its numbers."""
        with suppress(BrokenPipeError):  # the missing answer tells more
            self._requests.write("epoch\n")
            self._requests.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            tail = self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            raise WorkerError(
                "\n".join([f"{self.peer.name} ended without an answer; {self._log}:", *tail])
            ) from None
        if not isinstance(answer, dict):
            raise WorkerError(f"{self.peer.name}: expected numbers, got {line[:80]!r}")
        return answer


@contextmanager
def started(peer: Peer, python: Path, arguments: Sequence[str], folder: Path) -> Iterator[Worker]:
    """Start a worker and wait until it is warm; end it afterwards.

    Parameters
    ----------
    folder : where its standard error goes, to ``<name>.log``
    """
    log = folder / f"{peer.name}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [python, PEERS_FOLDER / peer.worker, *arguments, "--library", peer.library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment_variables(peer),
        ) as process,
    ):
        try:
            yield Worker(peer, process, log)
        finally:
            process.kill()


def rounds(workers: Sequence[Worker], count: int, pause_seconds: float) -> list[list[Any]]:
    """Let all do one epoch a round, one after the other, each round beginning with another.

    Parameters
    ----------
    pause_seconds : before each turn, so that threads of the last one that still spin go to sleep

    Returns
    -------
    for each worker, in the order given, its numbers by round; ``others_cpu_seconds`` is what
    all other programs of the machine took meanwhile
    """
    found: list[list[Any]] = [[] for _ in workers]
    for number in range(count):
        for offset in range(len(workers)):
            index = (number + offset) % len(workers)
            time.sleep(pause_seconds)
            before = machine.busy_seconds()
            numbers = workers[index].epoch()
            others = machine.busy_seconds() - before - numbers["cpu_seconds"]
            found[index].append(numbers | {"others_cpu_seconds": max(others, 0.0)})
    return found
