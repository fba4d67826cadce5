"""A server under attack, as a process of its own: it goes on answering, and stays small."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_samples import (
    drawn,
    encoded,
    exchange,
    memory,
    page,
    png_chunk,
    png_header,
    running,
    tiny_outside,
)

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

MEBIBYTE = 1 << 20
PATIENCE = 0.1  # seconds that /healthz may take; the machine that tests may be busy: see below


def post(content: bytes, path: str = "/api/predict", kind: str = "image/png") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    ).encode() + content


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


class Watch:
    """Asks /healthz all the time, and looks at the server's memory."""

    def __init__(self, port: int, pid: int) -> None:
        self._port, self._pid = port, pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.took: list[float] = []
        self.failed: list[str] = []
        self.most = 0

    def __enter__(self) -> Watch:
        self.before = memory(self._pid)
        self._thread.start()
        time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.1)
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._ended.wait(0.02):
            begin = time.perf_counter()
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                if answer.status != 200 or answer.read()[:15] != b'{"status":"ok",':
                    self.failed.append(f"status {answer.status}")
            except OSError as error:
                self.failed.append(repr(error))
                connection.close()
            self.took.append(time.perf_counter() - begin)
            self.most = max(self.most, memory(self._pid))
        connection.close()

    def check(self, what: str, *, mebibytes: int) -> None:
        grown = (self.most - self.before) / MEBIBYTE
        middle, worst = statistics.median(self.took), max(self.took)
        print(
            f"{what}: /healthz {len(self.took)} times, median {1000 * middle:.1f} ms, worst "
            f"{1000 * worst:.0f} ms; memory at most {self.most / MEBIBYTE:.0f} MiB, "
            f"{grown:.0f} more than before"
        )
        assert self.failed == []
        assert middle < PATIENCE
        # One answer in twenty may wait for other programs of the machine, but not for ever.
        assert sorted(self.took)[int(0.95 * (len(self.took) - 1))] < PATIENCE
        assert worst < 2
        assert grown < mebibytes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, int]]:
    options = ("--max-upload-seconds", "2", "--max-connections", "300")
    with running(tmp_path_factory.mktemp("hostile"), *options) as (process, port):
        assert status(exchange(port, post(encoded(drawn(1, 400))))) == 200  # all is loaded
        yield process, port
        assert process.poll() is None
        assert status(exchange(port, post(encoded(drawn(1))))) == 200


def png_that_claims(width: int, height: int, packed: bytes = b"") -> bytes:
    """Write a grey PNG with a header of any size."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_header(width, height)
        + png_chunk(b"IDAT", packed)
        + png_chunk(b"IEND", b"")
    )


def png_of_zeros(width: int, height: int) -> bytes:
    """Write a black PNG: a thousandth of its pixels in bytes."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_that_claims(width, height, packed)


def hostile_pictures() -> dict[str, tuple[bytes, set[int]]]:
    """Name -> picture, and the statuses that would do."""
    digit = encoded(drawn(3))
    jpeg = encoded(drawn(3).convert("RGB"), "jpeg")
    rng = np.random.default_rng(0)
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 * MEBIBYTE), 9))
    tiff = encoded(drawn(3), "tiff")
    many_frames = io.BytesIO()
    frame = Image.new("L", (8, 8), 255)
    frame.save(many_frames, "tiff", save_all=True, append_images=[frame] * 500)
    return {
        "bomb in the header": (png_that_claims(100_000, 100_000), {413}),
        "largest header": (png_that_claims(2**31 - 1, 2**31 - 1), {413, 422}),
        "no pixels": (png_that_claims(0, 0), {413, 422}),
        "bomb of zeros": (png_of_zeros(20_000, 3_000), {413}),
        "long text": (digit[:33] + text + digit[33:], {200, 413, 422}),
        "bmp that claims much": (
            b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000,
            60_000, 1, 24, 0, 0, 0, 0, 0, 0),
            {413, 422},
        ),
        "bmp upside down": (
            b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 10,
            -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
            {413, 422},
        ),
        "webp cut off": (b"RIFF\xff\xff\xff\x7fWEBPVP8X", {422}),
        "tiff of loops": (b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00", {422}),
        "tiff with an offset far out": (tiff[:4] + b"\xff\xff\xff\xff" + tiff[8:], {422}),
        "tiff of many frames": (many_frames.getvalue(), {200, 422}),
        "png and zip": (digit + b"PK\x05\x06" + bytes(18), {200, 422}),
        "jpeg and html": (jpeg + b"<script>alert(1)</script>", {200, 422}),
        "gif in disguise": (encoded(drawn(3).convert("P"), "gif"), {415}),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {415}),
        "pdf": (b"%PDF-1.7\n", {415}),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", {415}),
        "pickle": (b"\x80\x04cos\nsystem\n", {415}),
        "nothing": (b"", {422}),
        "png cut off": (digit[: len(digit) // 2], {422}),
        "png with a wrong checksum": (digit[:40] + b"\xff" + digit[41:], {200, 422}),
        "jpeg cut off": (jpeg[: len(jpeg) // 2], {422}),
        "jpeg of noise": (jpeg[:300] + rng.bytes(2000), {200, 422}),
        "noise": (encoded(Image.fromarray(rng.integers(0, 256, (600, 600), np.uint8))), {200}),
        "one pixel": (encoded(Image.new("L", (1, 1))), {200}),
        "a line": (encoded(Image.new("L", (1, 5000), 200)), {200, 422}),
        "two tones": (encoded(Image.new("1", (300, 300), 1)), {200}),
        "sixteen bits": (
            encoded(Image.fromarray(np.full((64, 64), 60000, np.uint16))), {200, 422}
        ),
        "transparent": (encoded(Image.new("RGBA", (200, 200), (0, 0, 0, 0))), {200}),
    }  # fmt: skip


def test_hostile_pictures_get_clear_answers(server: tuple[Any, int]):
    process, port = server
    wrong = []
    with Watch(port, process.pid) as watch:
        for name, (content, expected) in hostile_pictures().items():
            for path in ("/api/predict", "/api/read"):
                answer = exchange(port, post(content, path))
                if status(answer) not in expected:
                    wrong.append(f"{name} to {path}: {answer[:300]!r}")
                elif status(answer) != 200 and b'{"detail":"' not in answer:
                    wrong.append(f"{name} to {path} gave no detail: {answer[-200:]!r}")
    watch.check("hostile pictures", mebibytes=600)
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "digit"), [("tiff", None), ("two headers", None), ("profiles", 3)]
)
def test_what_only_begins_as_a_tiny_picture_holds_nobody_up(
    server: tuple[Any, int], name: str, digit: int | None
):
    process, port = server
    content = tiny_outside()[name]
    assert len(content) < 1 << 17
    answers: list[bytes] = []
    with Watch(port, process.pid) as watch:
        at_once(8, lambda _: answers.append(exchange(port, post(content), 60)))
    watch.check(f"eight bodies that begin as a tiny picture ({name})", mebibytes=1000)
    assert {status(answer) for answer in answers} <= {200, 503}
    read = [json.loads(a.split(b"\r\n\r\n", 1)[1]) for a in answers if status(a) == 200]
    assert read
    assert {one["digit"] for one in read} == {digit}


def test_damaged_bytes_are_never_a_fault_of_the_server(server: tuple[Any, int]):
    _, port = server
    draw = random.Random(1)  # noqa: S311
    pictures = [
        encoded(drawn(digit, 40).convert("RGB"), form)
        for digit, form in ((2, "png"), (3, "jpeg"), (4, "webp"), (5, "bmp"), (6, "tiff"))
    ]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(150):
        content = bytearray(draw.choice(pictures))
        for _ in range(draw.randint(1, 6)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        cut = draw.choice([len(content), draw.randrange(len(content))])
        connection.request(
            "POST", "/api/predict", bytes(content[:cut]), {"Content-Type": "image/png"}
        )
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (200, 413, 415, 422), (answer.status, body)
    connection.close()


def test_bodies_that_are_too_large_are_not_taken_in(server: tuple[Any, int]):
    process, port = server
    with Watch(port, process.pid) as watch:
        announced = exchange(
            port,
            b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 99999999999\r\n\r\n" + bytes(MEBIBYTE),
        )
        chunk = b"%x\r\n" % MEBIBYTE + bytes(MEBIBYTE) + b"\r\n"
        growing = exchange(
            port,
            b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + 60 * chunk,
        )
    assert status(announced) == 413
    assert status(growing) in (0, 413)  # who goes on sending may not get to see the answer
    watch.check("bodies without end", mebibytes=100)


def test_requests_that_are_no_http_are_refused(server: tuple[Any, int]):
    _, port = server
    for request in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",  # no Host
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
        b"Connection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        assert status(exchange(port, request, seconds=4)) in (400, 403), request
    long = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 200_000
    assert status(exchange(port, long)) in (0, 431)


def at_once(count: int, one: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_200_connections_at_once(server: tuple[Any, int]):
    process, port = server
    content = encoded(page([[1, 2, 3]] * 4), "jpeg")
    got: list[int] = []
    with Watch(port, process.pid) as watch:
        at_once(200, lambda _: got.append(status(exchange(port, post(content, "/api/read"), 60))))
    watch.check("200 pages at once", mebibytes=600)
    assert len(got) == 200
    assert set(got) <= {200, 503}
    assert got.count(200) >= 30


def test_200_slow_connections_keep_nobody_out(server: tuple[Any, int]):
    process, port = server
    digit = encoded(drawn(4))
    with Watch(port, process.pid) as watch:
        slow = [socket.create_connection(("127.0.0.1", port), timeout=15) for _ in range(200)]
        for number, connection in enumerate(slow):
            if number % 2:
                connection.sendall(b"POST /api/pre")  # a header that does not end
            else:
                connection.sendall(post(bytes(1000))[:-900])  # a body that does not end
        begin = time.monotonic()
        assert status(exchange(port, post(digit))) == 200
        assert time.monotonic() - begin < 2
        time.sleep(2.5)
        answers = []
        for connection in slow:
            answers.append(connection.recv(1 << 16))
            connection.close()
    watch.check("200 slow connections", mebibytes=100)
    assert {status(answer) for answer in answers} == {408}
    assert all(b'{"detail":"' in answer for answer in answers)


def test_more_connections_than_it_takes_are_told_so(server: tuple[Any, int]):
    _, port = server
    idle: list[socket.socket] = []
    try:
        while len(idle) < 320:
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=15))
        idle[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = idle[-1].recv(1 << 16)
        assert status(answer) == 503
        assert b"retry-after: " in answer.lower()
    finally:
        for connection in idle:
            connection.close()
    time.sleep(0.3)
    assert status(exchange(port, post(encoded(drawn(1))))) == 200


def test_large_pictures_at_once_stay_within_memory(server: tuple[Any, int]):
    process, port = server
    content = encoded(Image.new("L", (6000, 6000), 250), "jpeg", quality=50)  # 36 megapixels
    got: list[int] = []
    with Watch(port, process.pid) as watch:
        at_once(6, lambda _: got.append(status(exchange(port, post(content), 60))))
    watch.check("six pictures of 36 megapixels at once", mebibytes=1500)
    assert set(got) <= {200, 503}
    assert 200 in got


def test_schemathesis_finds_no_fault(server: tuple[Any, int], tmp_path: Path):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    _, port = server
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", f"http://127.0.0.1:{port}/openapi.json", "--seed", "1"),
            *("--max-examples", "40", "--generation-database", "none", "--request-timeout", "10"),
            *("--phases", "examples,coverage,fuzzing", "--checks"),
            "not_a_server_error,status_code_conformance,content_type_conformance,"
            "response_headers_conformance,response_schema_conformance",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
