"""The API in process: what it answers, what it refuses, and what its answers carry."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import inkproof
from inkproof.errors import ConfigurationError, InkproofError, MissingExtraError, StorageError
from serve_samples import STROKES, drawn, encoded, exchange, page, running, tiny_outside

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

from starlette.testclient import TestClient

from inkproof.photo.reader import Reader
from inkproof.serve import Limits, create_app
from inkproof.serve.explain import occlusion
from inkproof.serve.forms import png_pixels, sniffed
from inkproof.serve.names import is_local

BASE = "http://127.0.0.1:8000"


def client(**options):
    return TestClient(create_app(**options), base_url=BASE)


def send(to, content, path="/api/predict", kind="image/png", **options):
    return to.post(path, files={"image": ("picture", content, kind)}, **options)


def save_model(path, name="small", seed=0, class_names=None, units=10, shape=(28, 28, 1)):
    model = inkproof.Model(
        [inkproof.Dense(units, activation="softmax")],
        input_shape=shape,
        name=name,
        seed=seed,
        class_names=class_names,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)


@pytest.fixture(scope="module")
def api():
    return client()


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for seed in (2, 10):
        save_model(folder / "mine" / "small" / f"seed-{seed}" / "model.safetensors", seed=seed)
    (folder / "mine" / "report.html").write_text("<!doctype html><title>Mine</title>")
    return folder


# --- Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("digit", STROKES)
def test_a_drawn_digit_is_read(api, digit):
    answer = send(api, encoded(drawn(digit)))
    assert answer.status_code == 200
    got = answer.json()
    assert (got["digit"], got["is_digit"]) == (digit, True)
    assert sum(got["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert got["probability"] == max(got["probabilities"]) == got["probabilities"][digit]
    rest = [p for other, p in enumerate(got["probabilities"]) if other != digit]
    assert got["runner_up_probability"] == max(rest)
    assert got["probabilities"][got["runner_up"]] == max(rest)
    assert got["model"] == "shipped"


@pytest.mark.parametrize(
    ("form", "options"),
    [("png", {}), ("jpeg", {"quality": 90}), ("webp", {}), ("bmp", {}), ("tiff", {})],
)
@pytest.mark.parametrize("dark", [False, True])
def test_every_format_is_read(api, form, options, dark):
    picture = encoded(drawn(3, dark=dark).convert("RGB"), form, **options)
    assert send(api, picture).json()["digit"] == 3
    raw = api.post("/api/predict", content=picture, headers={"Content-Type": f"image/{form}"})
    assert raw.json()["digit"] == 3


@pytest.mark.parametrize("side", [28, 140, 300, 700])
def test_all_lanes_read_alike(api, side):
    # 28 and 140 are read on the event loop, 300 in a thread, 700 among the large ones.
    picture = encoded(drawn(2, side))
    plain = send(api, picture).json()
    assert plain["digit"] == 2
    explained = send(api, picture, params={"explain": "true"}).json()
    named = send(api, picture, params={"model": "shipped"}).json()
    assert named == plain
    assert explained.pop("explanation")["method"] == "occlusion"
    assert explained == plain


def test_the_image_is_what_the_model_saw(api):
    answer = send(api, encoded(drawn(6))).json()
    pixels = np.frombuffer(base64.b64decode(answer["image"]), dtype=np.uint8).reshape(28, 28)
    (reading,) = Reader.load().read(pixels[np.newaxis])
    assert answer["probabilities"] == pytest.approx(reading.probabilities, abs=1e-6)
    assert pixels[0].max() == 0
    assert pixels.max() > 200


def test_blank_paper_is_no_digit(api):
    for side in (140, 600):
        answer = send(api, encoded(Image.new("L", (side, side), 255)))
        assert answer.status_code == 200
        got = answer.json()
        assert got["is_digit"] is False
        assert got["digit"] is got["image"] is got["probabilities"] is None


def test_the_evidence_is_what_occlusion_of_each_patch_does():
    reader = Reader.load()
    image = np.asarray(drawn(4, 28, dark=True))
    (reading,) = reader.read(image[np.newaxis])
    evidence = occlusion(reader, image, reading)

    def odds(row):
        return np.log(max(row[reading.digit], 1e-7)) - np.log(
            max(sum(row) - row[reading.digit], 1e-7)
        )

    expected = np.zeros((28, 28))
    count = np.zeros((28, 28))
    for top in range(0, 25, 2):
        for left in range(0, 25, 2):
            changed = image.copy()
            changed[top : top + 4, left : left + 4] = 0
            (other,) = reader.read(changed[np.newaxis])
            expected[top : top + 4, left : left + 4] += odds(reading.probabilities) - odds(
                other.probabilities
            )
            count[top : top + 4, left : left + 4] += 1
    expected = np.where(image > 0, expected / count, 0)
    assert np.abs(evidence - expected).max() < 1e-3 * max(1, np.abs(expected).max())
    assert evidence.max() > 0.1
    assert (evidence[image == 0] == 0).all()
    assert not occlusion(reader, np.zeros((28, 28), np.uint8), reading).any()


def test_the_page_is_read_in_order(api):
    answer = send(api, encoded(page([[3, 1, 4], [2, 7]])), "/api/read")
    assert answer.status_code == 200
    got = answer.json()
    assert [one["digit"] for one in got["digits"]] == [3, 1, 4, 2, 7]
    assert "".join(got["text"].split()) == "31427"
    for one in got["digits"]:
        left, top, right, bottom = one["box"]
        assert 0 <= left < right <= got["width"]
        assert 0 <= top < bottom <= got["height"]
    assert len({one["line"] for one in got["digits"]}) == 2


def test_lines_and_numbers_are_counted_as_the_command_read_does(api, tmp_path):
    picture = encoded(page([[3, 1, 4], [2, 7]]))
    (tmp_path / "page.png").write_bytes(picture)
    done = subprocess.run(
        [sys.executable, "-m", "inkproof", "read", "page.png", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    (record,) = json.loads(done.stdout)
    got = send(api, picture, "/api/read").json()
    places = [[(one["line"], one["number"]) for one in of["digits"]] for of in (got, record)]
    assert places[0] == places[1]
    assert places[0][0] == (1, 1)
    assert places[0][-1][0] == 2


def test_requests_that_come_together_get_their_own_answers():
    app = create_app()

    async def all_at_once():
        import httpx2 as httpx

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as to:
            pictures = {digit: encoded(drawn(digit)) for digit in STROKES}
            digits = [digit for digit in STROKES for _ in range(4)]
            answers = await asyncio.gather(
                *(
                    to.post(
                        "/api/predict" + ("?explain=1" if place % 4 == 0 else ""),
                        files={"image": pictures[d]},
                    )
                    for place, d in enumerate(digits)
                )
            )
        return digits, [answer.json()["digit"] for answer in answers]

    digits, got = asyncio.run(all_at_once())
    assert got == digits


def test_an_image_of_mnist_is_taken_as_it_is(api):
    image = inkproof.load("mnist").test.images[0, :, :, 0]
    answer = send(api, encoded(Image.fromarray(image))).json()
    assert base64.b64decode(answer["image"]) == image.tobytes()
    again = send(api, encoded(Image.fromarray(image).convert("RGBA"))).json()
    assert again == answer


# --- What is refused ------------------------------------------------------------------------------


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["detail"]
    detail = answer.json()["detail"]
    assert "\n" not in detail
    for word in words:
        assert word in detail
    return detail


def test_what_is_no_picture_is_refused(api):
    refused(send(api, b"hello"), 415, "image: expected a picture (PNG, JPEG", "got something else")
    refused(send(api, encoded(drawn(1).convert("P"), "gif")), 415)
    refused(send(api, b"%PDF-1.7"), 415)
    refused(send(api, b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415)
    refused(send(api, b""), 422, "empty")
    whole = encoded(drawn(1))
    refused(send(api, whole[: len(whole) // 2]), 422, "image")
    refused(send(api, whole[:20]), 422, "image")
    refused(send(api, encoded(drawn(1), "jpeg")[:300]), 422, "image")
    refused(send(api, b"II*\x00" + b"\xff" * 100), 422, "image")


def test_a_form_without_exactly_one_picture_is_refused(api):
    picture = encoded(drawn(1))
    refused(api.post("/api/predict", files={"other": picture}), 422, "got 0")
    refused(api.post("/api/predict", files=[("image", picture), ("image", picture)]), 422, "got 2")
    refused(api.post("/api/predict", json={"image": 1}), 415, "multipart/form-data")
    refused(api.post("/api/predict"), 415)
    refused(
        api.post("/api/predict", content=picture, headers={"Content-Type": "multipart/form-data"}),
        422,
        "boundary",
    )
    refused(
        api.post(
            "/api/predict",
            content=b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\nabc",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        ),
        422,
        "last boundary",
    )
    many = [("f", b"1")] * 30
    refused(api.post("/api/predict", files=[*many, ("image", picture)]), 422, "at most 20")


def test_parameters_are_checked(api):
    picture = encoded(drawn(1))
    refused(send(api, picture, params={"model": "../../etc/passwd"}), 404, "/api/models")
    refused(send(api, picture, params={"explain": "perhaps"}), 422, "query.explain")
    refused(send(api, picture, params={"model": "x" * 501}), 422, "query.model")


def test_bodies_are_bounded():
    to = client(limits=Limits(body_bytes=1000))
    refused(send(to, b"x" * 2000), 413, "expected at most 1,000 bytes")

    def pieces():
        for _ in range(20):
            yield b"x" * 100

    chunked = to.post("/api/predict", content=pieces(), headers={"Content-Type": "image/png"})
    refused(chunked, 413, "got more")
    assert send(to, b"x" * 200).status_code == 415


def test_pixels_are_bounded_before_decoding():
    to = client(limits=Limits(pixels=10_000))
    assert send(to, encoded(drawn(1, 100))).status_code == 200
    for form in ("png", "jpeg", "webp", "bmp", "tiff"):
        refused(send(to, encoded(drawn(1, 101), form)), 413, "10,000")


@pytest.mark.parametrize("name", ["tiff", "two headers", "profiles"])
def test_what_only_begins_as_a_tiny_picture_goes_to_the_large_ones(monkeypatch, name):
    from PIL import ImageFile

    from inkproof.serve.library import Library
    from inkproof.serve.work import TINY_PIXELS, Job, TooLarge, Worker, likely_pixels

    body = tiny_outside(1000)[name]
    assert likely_pixels(body) <= TINY_PIXELS
    worker = Worker(Library(), Limits())
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: [decoded.append(self.size), load(self)][1]
    )
    jobs = [Job(body=body, content_type="image/png", model=None)]
    for lane in (worker.tiny, worker.small):
        (answer,) = lane(jobs)
        assert isinstance(answer, TooLarge)
    assert decoded == []
    (answer,) = worker.large(jobs)
    assert json.loads(answer)["digit"] == (3 if name == "profiles" else None)
    assert decoded[0] == ((140, 140) if name == "profiles" else (1000, 1000))


def test_places_are_bounded_and_given_back(monkeypatch):
    from inkproof.serve.work import Worker

    def slow(self, jobs):
        time.sleep(0.6)
        return [b"{}"] * len(jobs)

    monkeypatch.setattr(Worker, "large", slow)
    app = create_app(limits=Limits(concurrency=2, large=1, request_seconds=0.3))
    picture = encoded(drawn(1), "jpeg")

    async def many():
        import httpx2 as httpx

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as to:
            answers = await asyncio.gather(
                *(to.post("/api/predict", files={"image": picture}) for _ in range(5))
            )
            alive = await to.get("/healthz")
            # Two were given up, but they are still worked on: no place is free yet.
            at_once = await to.post("/api/predict", files={"image": picture})
            await asyncio.sleep(1.5)
            later = await to.post("/api/predict", files={"image": encoded(drawn(1))})
            return answers, alive, at_once, later

    answers, alive, at_once, later = asyncio.run(many())
    details = [refused(answer, 503) for answer in answers]
    assert sum("given up" in detail for detail in details) == 2
    assert sum("works on 2 requests already" in detail for detail in details) == 3
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert alive.status_code == 200
    refused(at_once, 503)
    assert later.json()["digit"] == 1


def test_a_fault_of_ours_is_told_without_its_details(monkeypatch, caplog):
    from inkproof.serve.work import Worker

    def broken(self, jobs):
        raise RuntimeError("secret")

    monkeypatch.setattr(Worker, "tiny", broken)
    with caplog.at_level("CRITICAL"):
        answer = send(client(), encoded(drawn(1)))
    assert "secret" not in refused(answer, 500, "a fault of the server")


@pytest.mark.parametrize("name", ["body_bytes", "pixels", "concurrency", "request_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), True, "many"])
def test_limits_are_checked(name, value):
    with pytest.raises(ConfigurationError, match=f"^limits.{name} must be "):
        Limits(**{name: value})


# --- Hosts, origins, headers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "good"),
    [
        *(("127.0.0.1:8000", True), ("localhost", True), ("localhost:1", True), ("[::1]:8", True)),
        *(("LOCALHOST.", True), ("lab.example", True), ("127.0.0.1.evil.example", False)),
        *(("evil.example", False), ("evil.example:8000", False), ("localhost.evil.example", False)),
        *(("192.168.1.7", False), ("", False), ("a b", False), ("localhost:8000/x", False)),
        *(("user@localhost", False), ("[::1", False), ("localhost, evil.example", False)),
    ],
)
def test_only_names_of_this_server_are_answered(host, good):
    to = client(names=["lab.example"])
    answer = to.get("/healthz", headers={"Host": host})
    if good:
        assert answer.status_code == 200
    else:
        refused(answer, 403, "Host: expected a name of this server")


def test_a_server_for_all_takes_addresses_but_no_names():
    to = client(host="0.0.0.0")  # noqa: S104
    assert to.get("/healthz", headers={"Host": "192.168.1.7:8000"}).status_code == 200
    assert to.get("/healthz", headers={"Host": "[fe80::1]"}).status_code == 200
    refused(to.get("/healthz", headers={"Host": "evil.example"}), 403)


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        *(("http://127.0.0.1:8000", True), ("https://127.0.0.1:8000", True)),
        *(("http://evil.example", False), ("null", False), ("http://127.0.0.1:9000", False)),
        *(("http://localhost:8000", False), ("", False), ("file://", False)),
    ],
)
def test_pages_from_elsewhere_cannot_post(api, origin, good):
    for path in ("/api/predict", "/api/predict?explain=1", "/api/read", "/nothing"):
        answer = api.post(path, files={"image": b"x"}, headers={"Origin": origin})
        if good:
            assert answer.status_code in (404, 415)
        else:
            refused(answer, 403, "Origin: expected this server's own pages")
    assert api.get("/healthz", headers={"Origin": origin}).status_code == 200


def test_another_sites_request_is_known_by_its_metadata(api):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 415)):
        answer = api.post("/api/predict", files={"image": b"x"}, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status


def test_every_answer_carries_the_security_headers(api):
    answers = [
        api.get("/"),
        api.get("/docs"),
        api.get("/healthz"),
        api.get("/openapi.json"),
        api.get("/nothing"),
        api.put("/api/predict"),
        send(api, b"hello"),
        api.get("/", headers={"Host": "evil.example"}),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    assert answers[5].status_code == 405
    assert "POST" in answers[5].headers["allow"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_hold_all_they_need(api, path):
    answer = api.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    outside = re.findall(r"""(?:src|href|action)\s*=\s*["']([^"']*)""", answer.text)
    assert all(one.startswith(("data:", "/", "#")) and one[:2] != "//" for one in outside)
    assert not re.search(r"@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")", answer.text)
    assert set(re.findall(r"https?://[\w.:]+", answer.text)) <= {
        "http://www.w3.org",  # the name of SVG
        "http://localhost:8000",  # the example
    }
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy


def test_the_documentation_tells_every_operation(api):
    text = api.get("/docs").text
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        assert f"<code>{path}</code>" in text
        for operation in methods.values():
            for status in operation["responses"]:
                assert f"<strong>{status}</strong>" in text
    assert "None" not in text
    assert "`" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


# --- OpenAPI --------------------------------------------------------------------------------------


def test_answers_are_as_the_openapi_says(api, runs):
    description = api.get("/openapi.json").json()
    assert set(description["paths"]) == {"/api/predict", "/api/read", "/api/models", "/healthz"}

    def check(answer, path, method):
        responses = description["paths"][path][method]["responses"]
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), schema | {"components": description["components"]})

    to = client(runs=runs)
    check(send(to, encoded(drawn(1))), "/api/predict", "post")
    check(send(to, encoded(drawn(1)), params={"explain": 1}), "/api/predict", "post")
    check(send(to, encoded(Image.new("L", (40, 40)))), "/api/predict", "post")
    check(send(to, b"x"), "/api/predict", "post")
    check(send(to, encoded(page([[1, 2]])), "/api/read"), "/api/read", "post")
    check(to.get("/api/models"), "/api/models", "get")
    check(to.get("/healthz"), "/healthz", "get")


# --- Models and reports ---------------------------------------------------------------------------


def test_models_of_a_runs_folder_can_be_chosen(runs):
    to = client(runs=runs)
    listed = to.get("/api/models").json()
    assert listed["default"] == "shipped"
    report = "/reports/mine/report.html"
    assert listed["models"] == [
        {"id": "shipped", "name": "Inkproof's own", "report": None},
        {"id": "runs/mine/small/seed-2", "name": "mine / small / seed-2", "report": report},
        {"id": "runs/mine/small/seed-10", "name": "mine / small / seed-10", "report": report},
    ]
    answers = {}
    for model in listed["models"]:
        answer = send(to, encoded(drawn(1)), params={"model": model["id"]}).json()
        assert answer["model"] == model["id"]
        answers[model["id"]] = answer["probabilities"]
    assert len({tuple(row) for row in answers.values()}) == 3
    path = runs / "mine" / "small" / "seed-2" / "model.safetensors"
    image = np.frombuffer(base64.b64decode(answer["image"]), np.uint8).reshape(1, 28, 28)
    expected = inkproof.Model.load(path).predict(image)[0]
    assert answers["runs/mine/small/seed-2"] == pytest.approx(expected, abs=1e-5)


def test_a_new_model_appears_and_a_changed_one_is_read_anew(runs, monkeypatch):
    monkeypatch.setattr("inkproof.serve.library._FRESH_SECONDS", 0.0)
    to = client(runs=runs)
    name = {"model": "runs/mine/small/seed-2"}
    before = send(to, encoded(drawn(1)), params=name).json()["probabilities"]
    save_model(runs / "mine" / "small" / "seed-2" / "model.safetensors", seed=77)
    assert send(to, encoded(drawn(1)), params=name).json()["probabilities"] != before
    save_model(runs / "other.safetensors")
    assert "runs/other.safetensors" in [m["id"] for m in to.get("/api/models").json()["models"]]
    shutil.rmtree(runs / "mine")
    refused(send(to, encoded(drawn(1)), params=name), 404)


def test_a_model_given_is_the_default_one(tmp_path):
    save_model(tmp_path / "<b>mine.safetensors", seed=5)
    to = client(model=tmp_path / "<b>mine.safetensors")
    listed = to.get("/api/models").json()
    assert listed["default"] == "given"
    assert listed["models"][0] == {"id": "given", "name": "<b>mine.safetensors", "report": None}
    assert send(to, encoded(drawn(1))).json()["model"] == "given"
    assert send(to, encoded(drawn(1)), params={"model": "shipped"}).json()["digit"] == 1


def test_what_cannot_read_digits_is_not_offered(runs):
    save_model(runs / "letters.safetensors", class_names=list("abcdefghij"))
    save_model(runs / "five.safetensors", units=5)
    save_model(runs / "large.safetensors", shape=(32, 32, 1))
    (runs / "damaged.safetensors").write_bytes(b"\x08" + b"\x00" * 20)
    (runs / "empty.safetensors").write_bytes(b"")
    (runs / ".hidden.safetensors").write_bytes(b"")
    save_model(runs / "checkpoint.safetensors")
    os.mkfifo(runs / "pipe.safetensors")
    save_model(runs / "strange\nname.safetensors")
    assert len(client(runs=runs).get("/api/models").json()["models"]) == 3


def test_a_damaged_model_is_told_without_the_servers_paths(runs):
    path = runs / "mine" / "small" / "seed-2" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    to = client(runs=runs)
    answer = send(to, encoded(drawn(1)), params={"model": "runs/mine/small/seed-2"})
    assert str(runs) not in refused(answer, 422, "model: ")
    beside = runs / "mine" / "small" / "seed-10" / "model.calibration.json"
    beside.write_text("[]")
    answer = send(to, encoded(drawn(1)), params={"model": "runs/mine/small/seed-10"})
    assert str(runs) not in refused(answer, 422, "model: ")


def test_links_are_not_followed(runs, tmp_path):
    outside = tmp_path / "outside"
    save_model(outside / "model.safetensors")
    (outside / "report.html").write_text("secret")
    (runs / "folder").symlink_to(outside)
    (runs / "loop").symlink_to(runs)
    (runs / "file.safetensors").symlink_to(outside / "model.safetensors")
    (runs / "study").mkdir()
    (runs / "study" / "report.html").symlink_to(outside / "report.html")
    to = client(runs=runs)
    assert len(to.get("/api/models").json()["models"]) == 3
    for report in ("study/report.html", "folder/report.html", "../outside/report.html"):
        refused(to.get(f"/reports/{report}"), 404)
    # One that takes a report's or a folder's place after the listing.
    (runs / "mine" / "report.html").unlink()
    (runs / "mine" / "report.html").symlink_to(outside / "report.html")
    refused(to.get("/reports/mine/report.html"), 404)
    shutil.rmtree(runs / "mine")
    (runs / "mine").symlink_to(outside)
    refused(to.get("/reports/mine/report.html"), 404)
    secret = outside / "small" / "seed-2"
    save_model(secret / "model.safetensors")
    refused(send(to, encoded(drawn(1)), params={"model": "runs/mine/small/seed-2"}), 404)


@pytest.mark.parametrize(
    "path",
    [
        *("/reports/../secret.html", "/reports/..%2fsecret.html", "/reports/%2e%2e/secret.html"),
        *("/reports//etc/passwd", "/reports/%2fetc%2fpasswd", "/reports/mine/../../secret.html"),
        *(
            "/reports/mine%00/report.html",
            "/reports/",
            "/reports/mine",
            "/reports/..%5csecret.html",
        ),
        "/reports/mine/small/seed-2/model.safetensors",
    ],
)
def test_no_path_leads_out_of_the_listing(runs, path):
    (runs.parent / "secret.html").write_text("secret")
    answer = client(runs=runs).get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace("secret.html", "")


def test_reports_are_served_in_a_sandbox(runs):
    answer = client(runs=runs).get("/reports/mine/report.html")
    assert answer.status_code == 200
    assert "<title>Mine</title>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy  # default-src keeps it from asking for anything
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_missing_folder_or_model_is_told(tmp_path):
    with pytest.raises(StorageError, match="expected a folder of runs, got none"):
        create_app(runs=tmp_path / "no")
    with pytest.raises(InkproofError, match=r"no\.safetensors"):
        create_app(model=tmp_path / "no.safetensors")


# --- Small parts ----------------------------------------------------------------------------------


def test_formats_are_known_by_their_first_bytes():
    for form, name in (
        *(("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WebP"), ("bmp", "BMP"), ("tiff", "TIFF")),
        ("gif", None),
    ):
        assert sniffed(encoded(drawn(1), form)) == name
    assert sniffed(b"") is None
    assert png_pixels(encoded(drawn(1, 30))) == 900
    assert png_pixels(encoded(drawn(1, 30))[:20]) is None
    assert png_pixels(b"\x89PNG\r\n\x1a\n" * 9) is None
    assert png_pixels(b" " + encoded(drawn(1, 30))) is None


def test_local_names():
    assert all(map(is_local, ("127.0.0.1", "localhost", "::1", "[::1]", "a.localhost")))
    assert not any(map(is_local, ("0.0.0.0", "::", "example.org", "10.0.0.1", "")))  # noqa: S104


def test_a_missing_extra_names_the_command(monkeypatch):
    import inkproof.serve

    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "inkproof.serve.app")
    with pytest.raises(MissingExtraError, match=r"pip install 'inkproof\[serve\]'"):
        _ = inkproof.serve.create_app


# --- The command ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_in_peace(tmp_path, how):
    with running(tmp_path) as (process, port):
        assert exchange(
            port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ).startswith(b"HTTP/1.1 200 OK")
        with socket.create_connection(("127.0.0.1", port)):  # idle: it is not waited for
            process.send_signal(how)
            assert process.wait(10) == 0
        assert process.stderr.read() == "inkproof: stopped\n"


def test_a_request_that_has_begun_is_finished(tmp_path):
    with running(tmp_path) as (process, port):
        picture = encoded(page([[1, 2, 3]] * 6))
        request = (
            b"POST /api/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: %d\r\n\r\n" % len(picture)
        ) + picture
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request)
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert len(json.loads(answer.split(b"\r\n\r\n", 1)[1])["digits"]) == 18
        assert process.wait(10) == 0


def run_command(*options, cwd):
    return subprocess.run(
        [sys.executable, "-m", "inkproof", "serve", *options],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
    )


def test_what_keeps_it_from_starting_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_command("--port", str(port), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"inkproof: error: 127.0.0.1:{port}: another program listens there; choose another --port,"
        " or 0 for any free one\n"
    )
    for options, words in (
        (("--port", "99999"), "--port must be 0 to 65535, got 99999"),
        (("--host", "nowhere.invalid"), "nowhere.invalid:8000: cannot listen there"),
        (("--max-bytes", "0"), "--max-bytes must be above 0"),
        (("--port", "0", "--runs", "no"), "no: expected a folder of runs, got none"),
        (("--port", "0", "--model", "no.safetensors"), "no.safetensors"),
    ):
        done = run_command(*options, cwd=tmp_path)
        assert done.returncode == 1, options
        assert words in done.stderr
        errors = [line for line in done.stderr.splitlines() if "warning" not in line]
        assert len(errors) == 1
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("field", [field.name for field in fields(Limits)])
def test_a_wrong_limit_is_told_by_its_option(field, monkeypatch):
    from inspect import signature

    from inkproof import cli

    # Each option's name comes from its parameter's, not from the table that the message uses.
    reached = {}
    monkeypatch.setattr("inkproof.serve.run_server", lambda **given: reached.update(given))
    default = getattr(Limits(), field)
    options = [name for name in signature(cli.serve).parameters if name.startswith("max_")]
    told = []
    for option in options:
        cli.serve(**{option: 17})
        if getattr(reached["limits"], field) == 17 != default:
            told.append(option)
            with pytest.raises(ConfigurationError) as caught:
                cli.serve(**{option: 0})
            assert str(caught.value) == (
                f"--{option.replace('_', '-')} must be above 0 and at most 1,099,511,627,776, got 0"
            )
    assert len(told) == 1


def test_a_server_for_all_warns(tmp_path):
    with running(tmp_path, "--host", "0.0.0.0") as (process, _):  # noqa: S104
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert "warning: 0.0.0.0 is not this machine alone" in process.stderr.read()


def test_the_folder_runs_is_taken_where_there_is_one(runs):
    with running(Path(runs).parent) as (_, port):
        answer = exchange(
            port, b"GET /api/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
    assert b"runs/mine/small/seed-10" in answer
