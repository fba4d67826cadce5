"""Measure whether the shipped model turns down what is no digit, and lets digits pass.

    .venv/bin/python benchmarks/rejects.py                  # the validation group: for development
    .venv/bin/python benchmarks/rejects.py --group test     # the test group and MNIST's test images

The non-digits come from fonts and generators that training never used, in two groups with fonts
and seeds of their own: what is chosen is chosen on the validation group. They are drawn here, not
by scripts/handwriting, so that a habit of the training generator is no help:

- letters of print and of handwriting fonts, those left out that one may take for a digit
  (``LOOK_ALIKES``);
- characters of other scripts, the same;
- scribbles: walks that keep their direction for a while, Lissajous curves, hatchings for
  validation; hypotrochoids, arcs and thickets of lines for the test;
- noise, blank and nearly blank images.

Digits: the 5,000 of MNIST's training images that were kept back, for validation, and its 10,000
test images. Fonts (Debian): see ``PACKAGES``. Takes half a minute. ``--montage`` draws what got
through.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from inkproof import load
from inkproof.photo.reader import Reader
from inkproof.statistics import wilson_interval

sys.path.append(str(Path(__file__).resolve().parent.parent / "scripts"))

from handwriting.photos import placed

LOOK_ALIKES = "OoQDIilJj|ZzYySsGbBgq"
LETTERS = "".join(
    c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in LOOK_ALIKES
)
PACKAGES = {
    "validation": "fonts-liberation fonts-humor-sans fonts-comic-neue",
    "test": "fonts-lato fonts-ebgaramond fonts-inconsolata fonts-cantarell fonts-breip "
    "fonts-dkg-handwriting fonts-femkeklaver fonts-sjfonts fonts-kristi fonts-dancingscript "
    "fonts-seto fonts-lohit-deva fonts-sil-harmattan fonts-sil-abyssinica culmus",
}
_ROOT = Path("/usr/share/fonts")
_GREEK = "ΓΔΛΞΠΣΨΩαηλμπψωξκ"  # without Ο Θ Φ Ι Β δ ο θ φ ι β σ ρ ζ υ τ γ ε
_CYRILLIC = "ГДЖИКЛМНПТЦШЩЫЮЯжикмнптшщюя"  # without О З Б В Э Ч У Ф о з б в э ч у г
# Each script's characters that look like no digit of ours.
OTHER_SCRIPTS = {
    "validation": {
        "truetype/liberation/LiberationSans-Regular.ttf": _GREEK + _CYRILLIC,
        "truetype/liberation/LiberationSerif-Regular.ttf": _GREEK + _CYRILLIC,
    },
    "test": {
        "truetype/lato/Lato-Regular.ttf": _GREEK + _CYRILLIC,
        "opentype/ebgaramond/EBGaramond12-Regular.otf": _GREEK + _CYRILLIC,
        "truetype/lohit-devanagari/Lohit-Devanagari.ttf": "अआईउकखघचछजझणतथदधनपफभमयलवशषसह",
        "truetype/harmattan/Harmattan-Regular.ttf": "بتثجحخسشصضطظعغفقكلمني",
        "truetype/abyssinica/AbyssinicaSIL-Regular.ttf": "ሀለሐመሰሸቀተነአከወዘየደገጠፈፐ",
        "truetype/culmus/DavidCLM-Medium.otf": "אבגדהזחטכלמפצקרשת",
        "truetype/culmus/NachlieliCLM-Light.otf": "אבגדהזחטכלמפצקרשת",
        "truetype/seto/setofont.ttf": "あいうおかきけさしせたちとなにぬねはひふほま"
        "みむめやゆよらりれわん"
        "アウエオカキケサシスセソタチテトナヌネハヒフホマミムメモヤユラルレワ"
        "大小中人山川木火水金土年月白赤青黒学校先生東西南北右左上下手足耳花",
    },
}
PRINT_FONTS = {
    "validation": ("truetype/liberation/*.ttf",),
    "test": (
        *("truetype/lato/*.ttf", "opentype/ebgaramond/*.otf", "opentype/cantarell/*.otf"),
        "truetype/inconsolata/*.otf",
    ),
}
HAND_FONTS = {
    "validation": ("truetype/humor-sans/*.ttf", "opentype/comic-neue/*.otf"),
    "test": (
        *("truetype/breip/Breip.ttf", "truetype/fifthhorseman/*.ttf", "truetype/femkeklaver/*.ttf"),
        *("truetype/sjfonts/*.ttf", "truetype/kristi/*.ttf", "opentype/dancingscript/*.otf"),
    ),
}
CAPITALS_ONLY = ("Humor-Sans",)
_SIDE = 120

Picture = npt.NDArray[np.uint8]
Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of non-digit: how many to draw, and how to draw one: (28, 28) and what it was."""

    count: int
    draw: Callable[[Rng, int], tuple[Picture, str]]


def kinds(group: str) -> dict[str, Kind]:
    """Give the kinds of a group, with its fonts.

    Raises
    ------
    SystemExit : fonts are missing
    """
    prints, hands = _found(PRINT_FONTS[group], group), _found(HAND_FONTS[group], group)
    foreign = [(_ROOT / path, text) for path, text in OTHER_SCRIPTS[group].items()]
    for path, _ in foreign:
        _found((str(path.relative_to(_ROOT)),), group)

    def letters(fonts: list[Path]) -> Callable[[Rng, int], tuple[Picture, str]]:
        def draw(rng: Rng, number: int) -> tuple[Picture, str]:
            font = fonts[number % len(fonts)]
            letter = LETTERS[rng.integers(len(LETTERS))]
            if font.stem in CAPITALS_ONLY:  # there a small d is a D, which looks like a 0
                letter = letter.upper() if letter.upper() in LETTERS else "A"
            return photographed(character(font, letter), rng), f"{letter} {font.stem}"

        return draw

    def other(rng: Rng, number: int) -> tuple[Picture, str]:
        font, text = foreign[number % len(foreign)]
        one = text[rng.integers(len(text))]
        return photographed(character(font, one), rng), f"{one} {font.stem}"

    return {
        "print letters": Kind(count=1500, draw=letters(prints)),
        "handwriting-font letters": Kind(count=1500, draw=letters(hands)),
        "other scripts": Kind(count=1500, draw=other),
        "scribbles": Kind(count=1000, draw=scribble if group == "validation" else tangle),
        "noise": Kind(count=500, draw=noise),
        "blank": Kind(count=200, draw=blank),
    }


def _found(patterns: tuple[str, ...], group: str) -> list[Path]:
    fonts = []
    for pattern in patterns:
        matching = sorted(_ROOT.glob(pattern))
        if not matching:
            raise SystemExit(
                f"{_ROOT / pattern}: not found; Debian: apt-get install {PACKAGES[group]}"
            )
        fonts += matching
    return fonts


def character(font: Path, text: str) -> npt.NDArray[np.float64]:
    """Draw a character, ink 0 to 1, as large as fits.

    Raises
    ------
    SystemExit : the font lacks it
    """
    face = ImageFont.truetype(str(font), 80)
    left, top, right, bottom = face.getbbox(text)
    if bytes(face.getmask(text)) == bytes(face.getmask("\U0010fffe")) or right <= left:
        raise SystemExit(f"{font}: has no {text!r}")
    image = Image.new("L", (_SIDE, _SIDE))
    at = ((_SIDE - right + left) / 2 - left, (_SIDE - bottom + top) / 2 - top)
    ImageDraw.Draw(image).text(at, text, fill=255, font=face)
    return np.asarray(image) / 255.0


def scribble(rng: Rng, number: int) -> tuple[Picture, str]:
    """Draw a walk with inertia, a Lissajous curve, or a hatching."""
    kind = ("walk", "Lissajous", "hatching")[number % 3]
    if kind == "walk":
        turn = np.cumsum(rng.normal(0, 0.35, 260)) + rng.uniform(0, 6.3)
        points = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0)
    elif kind == "Lissajous":
        a, b = rng.choice([2, 3, 4, 5, 7], 2, replace=False)
        t = np.linspace(0, 2 * np.pi, 400)
        points = np.stack([np.sin(a * t + rng.uniform(0, 3)), np.sin(b * t)], axis=1)
    else:
        rows = int(rng.integers(6, 14))
        ends = [[(row % 2) + rng.normal(0, 0.08), row / rows] for row in range(rows)]
        turned = rng.uniform(0, np.pi)
        spin = [[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]]
        points = np.array(ends) @ np.array(spin)
    return photographed(_line([points], rng), rng), kind


def tangle(rng: Rng, number: int) -> tuple[Picture, str]:
    """Draw a hypotrochoid, a chain of Bezier arcs with the pen lifted between, or a thicket."""
    kind = ("hypotrochoid", "arcs", "thicket")[number % 3]
    if kind == "hypotrochoid":
        ratio, arm = int(rng.integers(3, 8)) + 0.5, rng.uniform(0.4, 1.3)
        t = np.linspace(0, 4 * np.pi, 500)
        strokes = [
            np.stack(
                [
                    (ratio - 1) * np.cos(t) + arm * ratio / 2 * np.cos((ratio - 1) * t),
                    (ratio - 1) * np.sin(t) - arm * ratio / 2 * np.sin((ratio - 1) * t),
                ],
                axis=1,
            )
        ]
    elif kind == "arcs":
        t = np.linspace(0, 1, 40)[:, np.newaxis]
        strokes = []
        for _ in range(rng.integers(4, 8)):
            a, b, c = rng.random((3, 2))
            strokes.append((1 - t) ** 2 * a + 2 * t * (1 - t) * (3 * b - 1) + t**2 * c)
    else:
        strokes = [rng.random((2, 2)) for _ in range(rng.integers(6, 16))]
    return photographed(_line(strokes, rng), rng), kind


def _line(strokes: list[npt.NDArray[np.float64]], rng: Rng) -> npt.NDArray[np.float64]:
    every = np.concatenate(strokes)
    low, size = every.min(axis=0), np.ptp(every, axis=0).max()
    image = Image.new("L", (_SIDE, _SIDE))
    pen, width = ImageDraw.Draw(image), int(rng.integers(2, 7))
    for stroke in strokes:
        points = (stroke - low) / size * 90 + 15
        pen.line([tuple(p) for p in points], fill=255, width=width, joint="curve")
    return np.asarray(image) / 255.0


def noise(rng: Rng, number: int) -> tuple[Picture, str]:
    """Give uniform noise, dots of salt, or clouds."""
    kind = ("uniform", "salt", "clouds")[number % 3]
    if kind == "uniform":
        return rng.integers(0, int(rng.integers(60, 256)), (28, 28)).astype(np.uint8), kind
    if kind == "salt":
        return ((rng.random((28, 28)) < rng.uniform(0.03, 0.5)) * 255).astype(np.uint8), kind
    field = ndimage.uniform_filter(rng.random((60, 60)), int(rng.integers(2, 7)))
    field = (field - field.min()) / np.ptp(field)
    return placed((np.clip((field - rng.uniform(0.4, 0.7)) * 3, 0, 1) * 255).astype(np.uint8)), kind


def blank(rng: Rng, number: int) -> tuple[Picture, str]:
    """Give an even tone, or a few single faint pixels on black."""
    if number % 2:
        return np.full((28, 28), int(rng.integers(0, 256)), dtype=np.uint8), "even"
    image = np.zeros((28, 28), dtype=np.uint8)
    spots = rng.integers(0, 28, (int(rng.integers(0, 6)), 2))
    image[spots[:, 0], spots[:, 1]] = rng.integers(10, 120, len(spots))
    return image, "spots"


def photographed(ink: npt.NDArray[np.float64], rng: Rng) -> Picture:
    """Turn, blur, bring to full contrast, add noise, clear the paper; place as MNIST was made."""
    turned = ndimage.rotate(ink, rng.uniform(-10, 10), reshape=False, order=1)
    blurred = ndimage.gaussian_filter(turned, rng.uniform(0.3, 2.2))
    seen = blurred / blurred.max() + rng.normal(0, rng.uniform(0.01, 0.06), ink.shape)
    return placed((np.clip((seen - 0.25) / 0.55, 0, 1) * 255).astype(np.uint8))


def digits(group: str) -> Picture:
    """Give the digits that should pass, (n, 28, 28)."""
    mnist = load("mnist")
    if group == "test":
        return mnist.test.images[..., 0]
    return mnist.train.hold_out(5000 / len(mnist.train), seed=0)[1].images[..., 0]


def turned_down(
    reader: Reader, group: str, through: list[Picture] | None = None
) -> dict[str, list[bool]]:
    """Say of each drawing of each kind whether it is turned down; ``all`` is of all.

    Parameters
    ----------
    through : what got through is appended, and named on stdout
    """
    result: dict[str, list[bool]] = {}
    for at, (name, kind) in enumerate(kinds(group).items()):
        rng = np.random.Generator(np.random.Philox(1000 * (group == "test") + at))
        drawn = [kind.draw(rng, number) for number in range(kind.count)]
        readings = reader.read(np.stack([image for image, _ in drawn]))
        result[name] = [not one.is_digit for one in readings]
        missed = [row for row in range(kind.count) if readings[row].is_digit]
        if through is not None:
            through += [drawn[row][0] for row in missed]
            print(name, [f"{drawn[row][1]} as {readings[row].digit}" for row in missed[:60]])
    return result | {"all": [one for down in result.values() for one in down]}


def main() -> None:
    """Draw, read, count, print."""
    parser = argparse.ArgumentParser(description="Measure what the model turns down.")
    parser.add_argument("--group", choices=tuple(PACKAGES), default="validation")
    parser.add_argument("--model", type=Path, help="another model's file")
    parser.add_argument("--montage", type=Path, help="draw what got through here")
    given = parser.parse_args()
    reader = Reader.load(given.model)
    _print("digits pass", [one.is_digit for one in reader.read(digits(given.group))])
    through: list[Picture] | None = [] if given.montage else None
    for name, down in turned_down(reader, given.group, through).items():
        _print(f"{name} turned down", down)
    if through:
        _montage(through, given.montage)


def _print(what: str, hits: list[bool]) -> None:
    found = wilson_interval(sum(hits), len(hits))
    print(f"{what}: {found.value:.2%} [{found.low:.2%}, {found.high:.2%}] of {len(hits):,}")


def _montage(images: list[Picture], path: Path, across: int = 40) -> None:
    down = -(-len(images) // across)
    sheet = np.full((down * 30, across * 30), 90, dtype=np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, across)
        sheet[row * 30 + 1 : row * 30 + 29, column * 30 + 1 : column * 30 + 29] = image
    Image.fromarray(sheet).save(path)


if __name__ == "__main__":
    main()
