"""What was measured on: processor, cores, operating system."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

__all__ = ["busy_seconds", "command", "cores", "describe"]


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def command(script: str) -> str:
    """Tell how a benchmark was called, but not where its results went."""
    given = sys.argv[1:]
    told = [
        word
        for at, word in enumerate(given)
        if not word.startswith("--out") and (at == 0 or given[at - 1] != "--out")
    ]
    return shlex.join(["python", script, *told])


def describe() -> dict[str, Any]:
    """Give the facts that belong beside every time."""
    release = platform.freedesktop_os_release()
    return {
        "processor": _processor(),
        "cores": cores(),
        "os": f"{release.get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def busy_seconds() -> float:
    """Give the seconds that all cores together have worked since the machine was started.

    What another virtual machine has taken from this one ("steal") is counted as well.
    """
    with Path("/proc/stat").open(encoding="ascii") as file:
        user, nice, system, _idle, _waiting, hard, soft, stolen = map(
            int, file.readline().split()[1:9]
        )
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    """Name the processor; in a virtual machine the name alone may say little."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", platform.processor() or platform.machine())
    details = [
        f"{key.removeprefix('cpu ')} {facts[key]}"
        for key in ("cpu family", "model")
        if key in facts
    ]
    if "hypervisor" in facts.get("flags", "").split():
        details.append("virtual machine")
    return f"{name} ({', '.join(details)})" if details else name
