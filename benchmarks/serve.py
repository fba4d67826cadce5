"""How many single predictions a second the server answers, and how long they take at half of that.

Starts ``inkproof serve`` and a client of its own, both on the cores of this machine, which they
share. The client keeps connections open and sends MNIST's test images as PNG files, one a request,
as ``multipart/form-data``. First each connection asks as soon as it has its answer: that is the
throughput. Then requests are sent at random times (a Poisson process), first half as many a second,
then half of what is promised, 500. Each one's latency is counted from the time it should have been
sent, so that a server that stalls is not spared the requests that it kept from being sent.

    python benchmarks/serve.py [--seconds 10] [--connections 16] [--model M] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import inkproof
from machine import describe

IMAGES = 200
PROMISED = 500  # predictions a second
BOUNDARY = b"inkproof-benchmark"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds."""

    rate: float
    p50: float
    p99: float
    worst: float


def requests(host: str) -> tuple[list[bytes], np.ndarray]:
    """Write the requests, byte by byte, and the labels of their images."""
    test = inkproof.load("mnist").test
    written = []
    for pixels in test.images[:IMAGES, :, :, 0]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        body = (
            b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="image"; '
            b'filename="digit.png"\r\nContent-Type: image/png\r\n\r\n'
            + file.getvalue()
            + b"\r\n--"
            + BOUNDARY
            + b"--\r\n"
        )
        head = (
            f"POST /api/predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n\r\n"
        )
        written.append(head.encode() + body)
    return written, test.labels[:IMAGES]


class Connection:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """Send a request and give the answer's body; anything but a 200 is an error."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
        return await self.reader.readexactly(int(length))


async def throughput(
    connections: list[Connection], written: list[bytes], labels: np.ndarray, seconds: float
) -> tuple[float, float]:
    """Ask without a pause; give answers a second and the share of right ones."""
    end = time.perf_counter() + seconds
    asked = right = 0

    async def one(connection: Connection, first: int) -> None:
        nonlocal asked, right
        place = first
        while time.perf_counter() < end:
            answer = json.loads(await connection.ask(written[place % IMAGES]))
            right += answer["digit"] == labels[place % IMAGES]
            asked += 1
            place += 1

    begin = time.perf_counter()
    await asyncio.gather(*(one(c, 17 * n) for n, c in enumerate(connections)))
    return asked / (time.perf_counter() - begin), right / asked


async def latency(
    connections: list[Connection], written: list[bytes], rate: float, seconds: float
) -> Latency:
    """Ask at random times, ``rate`` a second on average."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    taken: list[float] = []

    async def one(place: int, due: float) -> None:
        connection = await free.get()
        await connection.ask(written[place % IMAGES])
        taken.append(time.perf_counter() - due)
        free.put_nowait(connection)

    draw = random.Random(0)  # noqa: S311 - times, not secrets
    due = begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for place in range(int(rate * seconds)):
            due += draw.expovariate(rate)
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(one(place, due))
    milliseconds = 1000 * np.array(taken)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return Latency(
        rate=len(taken) / (time.perf_counter() - begin),
        p50=float(p50),
        p99=float(p99),
        worst=float(milliseconds.max()),
    )


async def measure(port: int, options: argparse.Namespace) -> dict[str, Any]:
    written, labels = requests(f"127.0.0.1:{port}")
    connections = [
        Connection(*await asyncio.open_connection("127.0.0.1", port))
        for _ in range(options.connections)
    ]
    await throughput(connections, written, labels, 1.0)  # to warm up
    rate, right = await throughput(connections, written, labels, options.seconds)
    half = await latency(connections, written, rate / 2, options.seconds)
    promised = await latency(connections, written, PROMISED / 2, options.seconds)
    for connection in connections:
        connection.writer.close()
    return {
        "machine": describe(),
        "connections": options.connections,
        "predictions_a_second": rate,
        "share_right": right,
        "at_half_load": asdict(half),
        "at_half_of_what_is_promised": asdict(promised),
    }


@contextlib.contextmanager
def server(model: Path | None) -> Iterator[int]:
    command = [sys.executable, "-m", "inkproof", "serve", "--port", "0"]
    command += ["--model", str(model)] if model else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "http://" not in line:
                sys.exit("the server did not start")
            yield int(line.split("http://")[1].split("/")[0].rsplit(":", 1)[1])
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the three parts")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--model", type=Path, help="a model's file; without it the shipped one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with server(options.model) as port:
        result = asyncio.run(measure(port, options))
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{result['predictions_a_second']:.0f} predictions a second over "
        f"{options.connections} connections, {result['share_right']:.1%} right"
    )
    for name in ("at_half_load", "at_half_of_what_is_promised"):
        one = result[name]
        print(
            f"at {one['rate']:.0f} a second: p50 {one['p50']:.1f} ms, p99 {one['p99']:.1f} ms, "
            f"worst {one['worst']:.1f} ms"
        )


if __name__ == "__main__":
    main()
