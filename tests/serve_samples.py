"""Pictures, digits as strokes, and a running server, for the tests of inkproof.serve."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# Written by hand, in a square of side 1: what a person draws, not what MNIST holds.
STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [
        [
            *((0.50, 0.20), (0.40, 0.23), (0.33, 0.34), (0.30, 0.50), (0.33, 0.67), (0.41, 0.78)),
            *((0.50, 0.81), (0.60, 0.78), (0.67, 0.66), (0.70, 0.50), (0.67, 0.33), (0.60, 0.23)),
            (0.50, 0.20),
        ]
    ],
    1: [[(0.50, 0.20), (0.50, 0.80)]],
    2: [
        [
            *((0.33, 0.36), (0.36, 0.26), (0.46, 0.20), (0.58, 0.21), (0.66, 0.30), (0.65, 0.42)),
            *((0.55, 0.56), (0.42, 0.69), (0.32, 0.80), (0.50, 0.80), (0.70, 0.79)),
        ]
    ],
    3: [
        [
            *((0.34, 0.26), (0.46, 0.20), (0.60, 0.22), (0.66, 0.32), (0.60, 0.43), (0.47, 0.48)),
            *((0.60, 0.51), (0.68, 0.61), (0.65, 0.73), (0.54, 0.80), (0.41, 0.79), (0.32, 0.72)),
        ]
    ],
    4: [[(0.40, 0.20), (0.31, 0.55), (0.70, 0.55)], [(0.63, 0.24), (0.60, 0.82)]],
    5: [
        [
            *((0.66, 0.21), (0.40, 0.21), (0.37, 0.46), (0.50, 0.43), (0.62, 0.49), (0.67, 0.61)),
            *((0.62, 0.73), (0.50, 0.80), (0.34, 0.77)),
        ]
    ],
    6: [
        [
            *((0.60, 0.20), (0.46, 0.32), (0.37, 0.48), (0.34, 0.64), (0.40, 0.76), (0.51, 0.81)),
            *((0.62, 0.76), (0.66, 0.65), (0.61, 0.55), (0.50, 0.52), (0.39, 0.58), (0.35, 0.66)),
        ]
    ],
    7: [[(0.31, 0.23), (0.69, 0.23), (0.57, 0.48), (0.46, 0.81)]],
    8: [
        [
            *((0.62, 0.27), (0.50, 0.20), (0.38, 0.27), (0.39, 0.38), (0.50, 0.48), (0.62, 0.58)),
            *((0.66, 0.70), (0.58, 0.80), (0.45, 0.81), (0.36, 0.71), (0.39, 0.59), (0.50, 0.48)),
            *((0.61, 0.38), (0.62, 0.27)),
        ]
    ],
    9: [
        [
            *((0.64, 0.34), (0.58, 0.23), (0.46, 0.21), (0.37, 0.30), (0.38, 0.43), (0.49, 0.49)),
            *((0.60, 0.44), (0.65, 0.33), (0.64, 0.52), (0.59, 0.68), (0.54, 0.82)),
        ]
    ],
}


def drawn(digit: int, side: int = 140, *, pen: float = 0.07, dark: bool = False) -> Image.Image:
    """Draw a digit's strokes: black on white, or white on black."""
    paper, ink = (0, 255) if dark else (255, 0)
    image = Image.new("L", (4 * side, 4 * side), paper)
    brush = ImageDraw.Draw(image)
    width = round(4 * side * pen)
    for points in STROKES[digit]:
        places = [(4 * side * x, 4 * side * y) for x, y in points]
        brush.line(places, fill=ink, width=width, joint="curve")
        for x, y in (places[0], places[-1]):
            brush.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def page(lines: Sequence[Sequence[int]], *, side: int = 90) -> Image.Image:
    """Lay out digits in lines on grey paper with some noise."""
    rng = np.random.default_rng(3)
    height = side * (2 * len(lines) + 1)
    width = side * (max(map(len, lines)) + 2)
    paper = 225 + rng.normal(0, 3, (height, width))
    for row, line in enumerate(lines):
        for column, digit in enumerate(line):
            ink = 255 - np.asarray(drawn(digit, side, pen=0.06)).astype(float)
            top, left = side * (2 * row + 1), side * (column + 1)
            paper[top : top + side, left : left + side] -= 0.75 * ink
    return Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "png", **options: object) -> bytes:
    """Write an image file into memory."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Write a chunk of a PNG."""
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png_header(width: int, height: int) -> bytes:
    """Write a grey PNG's header."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def tiny_outside(side: int = 6300) -> dict[str, bytes]:
    """Write small files that begin as a tiny PNG does, and are large pictures or unpack to much.

    Parameters
    ----------
    side : of those that are large pictures, in pixels
    """
    tiny = b"\x89PNG\r\n\x1a\n" + png_header(28, 28)
    grey = zlib.compress(bytes(side * side), 9)
    rows = zlib.compress(bytes(side * (side + 1)), 9)
    tags = (
        *((256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 150)),
        *((277, 3, 1), (278, 4, side), (279, 4, len(grey))),
    )
    folder = struct.pack("<H", len(tags))
    folder += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    tiff = b"II*\0" + struct.pack("<I", 32) + tiny[:24] + folder
    digit = encoded(drawn(3))
    packed = zlib.compress(bytes((1 << 20) - 10), 9)
    profiles = png_chunk(b"iCCP", b"a\0\0" + packed) * 110
    return {
        "tiff": tiff.ljust(150, b"\0") + grey,
        "two headers": (
            tiny + png_header(side, side) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
        ),
        "profiles": digit[:33] + profiles + digit[33:],
    }


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start ``inkproof serve`` on a free port; give the process and the port."""
    with subprocess.Popen(
        [sys.executable, "-m", "inkproof", "serve", "--port", "0", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http://" not in line:
                process.kill()
                raise RuntimeError(f"the server did not start: {process.communicate()}")
            yield process, int(line.split("http://")[1].split("/")[0].rsplit(":", 1)[1])
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def exchange(port: int, request: bytes, seconds: float = 20.0) -> bytes:
    """Send bytes over a connection of its own; give all that comes back."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := connection.recv(1 << 16):
                answer += piece
    return answer


def memory(pid: int) -> int:
    """Give the bytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("no VmRSS")


def seconds_until(done: object, most: float) -> float:
    """Wait until ``done()`` holds; give the time that it took."""
    begin = time.monotonic()
    while not done():  # type: ignore[operator]
        if time.monotonic() - begin > most:
            raise TimeoutError(f"not within {most} seconds")
        time.sleep(0.02)
    return time.monotonic() - begin
