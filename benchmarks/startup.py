"""How long a command takes to answer.

    python benchmarks/startup.py [--runs 20]

Each command is started anew, in turn with the others, and timed from start to end of its process.
``python -c pass`` is what Python itself takes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import dense
import machine
import render

HERE = Path(sys.executable).parent
COMMANDS = {
    "inkproof --help": [str(HERE / "inkproof"), "--help"],
    "inkproof --version": [str(HERE / "inkproof"), "--version"],
    'python -c "import inkproof"': [sys.executable, "-c", "import inkproof"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    """Time one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=dense.FOLDER)
    given = parser.parse_args()
    facts = machine.describe()
    for command in COMMANDS.values():
        seconds(command)  # the disk's cache is warm from here on
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(given.runs):
        for name, command in COMMANDS.items():
            found[name].append(seconds(command))
    content = {
        "benchmark": "startup",
        "workload": "startup",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": dense.commit(),
        "machine": facts,
        "commands": found,
    }
    results = given.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    stamp = str(content["date"]).replace(":", "").replace("-", "")[:15]
    path = results / f"startup-{stamp}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("\n".join(render.startup(content)))
    render.write(given.out)


if __name__ == "__main__":
    main()
