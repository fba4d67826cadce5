"""How every figure looks: two themes, one palette, and bytes that do not change.

Colours are Okabe and Ito's ("Color universal design", 2008), which stay apart for colour-blind
eyes. Figures are made without pyplot and do not depend on a user's matplotlibrc.
"""

from __future__ import annotations

import functools
import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal, ParamSpec

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path

from inkproof.errors import UnknownNameError
from inkproof.storage import write_bytes

__all__ = [
    "DPI",
    "THEMES",
    "Drawing",
    "Theme",
    "ThemeColours",
    "axes_styled",
    "colours_of",
    "drawn",
    "fitted",
    "new_figure",
    "plain_text",
    "recoloured",
    "render",
    "save",
    "share_text",
    "shortened",
    "text_inches",
]

Theme = Literal["light", "dark"]
_P = ParamSpec("_P")

DPI: Final = 160
"""Pixels an inch of a PNG."""
_SVG_DPI: Final = 72  # whatever is asked for: its unit is the point
_LEAST_CHARACTERS: Final = 5
_MOST_CHARACTERS: Final = 100
_COLOUR: Final = re.compile(rb"#[0-9a-f]{6}\b")

_SETTINGS: Final = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titley": 1.0,  # nothing stands above an axes that its title has to make room for
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "svg.hashsalt": "inkproof",
    "svg.fonttype": "path",
    "text.usetex": False,
    "text.parse_math": False,  # names may hold dollar signs
}


@dataclass(frozen=True, kw_only=True)
class ThemeColours:
    """The colours of one theme, as ``#rrggbb``.

    Parameters
    ----------
    paper, ink, muted, grid : background, text, lesser text, lines behind the data
    first, second, third : for data; of each two one is told from the other by colour-blind eyes
    """

    paper: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    third: str


THEMES: Final[dict[Theme, ThemeColours]] = {
    "light": ThemeColours(
        paper="#ffffff",
        ink="#1b1f24",
        muted="#57606a",
        grid="#dfe3e8",
        first="#0072b2",
        second="#d55e00",
        third="#009e73",
    ),
    "dark": ThemeColours(
        paper="#0d1117",
        ink="#e6edf3",
        muted="#9aa4af",
        grid="#2b323b",
        first="#56b4e9",
        second="#e69f00",
        third="#009e73",
    ),
}


class Drawing(Figure):
    """A figure that notebooks show by themselves."""

    def _repr_png_(self) -> bytes:
        return render(self, "png")


def colours_of(theme: Theme) -> ThemeColours:
    """Look up a theme.

    Raises
    ------
    UnknownNameError : neither ``light`` nor ``dark``
    """
    if theme not in THEMES:
        raise UnknownNameError("theme", theme, THEMES)
    return THEMES[theme]


@contextmanager
def _settings() -> Iterator[None]:
    """Stand in for a user's settings; matplotlib keeps them for all threads at once."""
    with warnings.catch_warnings(), style.context(["default", _SETTINGS]):
        # A class may be named in a script that the font lacks: a box is drawn, the name stands
        # in the tables.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def drawn(function: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Make a function draw with our settings, whatever the user's are."""

    @functools.wraps(function)
    def wrapper(*args: _P.args, **keywords: _P.kwargs) -> Figure:
        with _settings():
            return function(*args, **keywords)

    return wrapper


def new_figure(width: float, height: float, colours: ThemeColours) -> Figure:
    """Give an empty figure, inches wide and high, that lays out its panels by itself."""
    engine = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07)
    return Drawing(figsize=(width, height), layout=engine, facecolor=colours.paper)


def axes_styled(axes: Axes, colours: ThemeColours, *, grid: Literal["x", "y"] = "y") -> Axes:
    """Leave of an axes' frame only the line that bars or curves stand on."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side == ("left" if grid == "x" else "bottom"))
        spine.set_color(colours.muted)
    axes.tick_params(length=0, colors=colours.ink)
    axes.xaxis.label.set_color(colours.muted)
    axes.yaxis.label.set_color(colours.muted)
    axes.title.set_color(colours.ink)
    axes.grid(visible=True, axis=grid, color=colours.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def plain_text(text: str) -> str:
    """Put a name on one line: control characters and runs of spaces become one space."""
    printable = (" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in text)
    return " ".join("".join(printable).split())


def shortened(text: str, most: int) -> str:
    """Cut a name to so many characters, on one line; an ellipsis says where it was cut.

    Both ends stay: names of one kind often differ in their last characters only.
    """
    line = plain_text(text)
    if len(line) <= most:
        return line
    tail = (most - 1) // 2
    head = most - 1 - tail
    return f"{line[:head].rstrip()}…{line[len(line) - tail :].lstrip()}"


def text_inches(text: str, points: float) -> float:
    """Measure one line of text as wide as it is drawn."""
    font = FontProperties(size=points)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def fitted(text: str, inches: float, points: float) -> str:
    """Cut a name as :func:`shortened` does to what fits a width; five characters always stay."""
    for most in range(min(len(plain_text(text)), _MOST_CHARACTERS), _LEAST_CHARACTERS, -1):
        short = shortened(text, most)
        if text_inches(short, points) <= inches:
            return short
    return shortened(text, _LEAST_CHARACTERS)


def share_text(share: float) -> str:
    """Write a probability as a percentage that says 0 or 100 only where it is exactly that."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f} %"


def render(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """Give a figure's file: the same bytes each time.

    Raises
    ------
    UnknownNameError : another form
    """
    if form not in ("png", "svg"):
        raise UnknownNameError("form of figure", form, ("png", "svg"))
    out = io.BytesIO()
    # Neither the date nor the software's version, so that the bytes change only with the figure.
    nothing = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    with _settings(), _laid_out(figure, DPI if form == "png" else _SVG_DPI):
        figure.savefig(
            out, format=form, dpi=DPI, metadata=nothing, facecolor=figure.get_facecolor()
        )
    return out.getvalue()


@contextmanager
def _laid_out(figure: Figure, dpi: float) -> Iterator[None]:
    """Lay a figure out once: savefig does it twice, and draws everything twice for it.

    Parameters
    ----------
    dpi : at which it is going to be drawn
    """
    engine = figure.get_layout_engine()
    if engine is None:
        yield
        return
    own_dpi = figure.dpi
    figure.set_dpi(dpi)
    try:
        engine.execute(figure)
        figure.set_layout_engine(None)
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.set_dpi(own_dpi)


def recoloured(svg: bytes, theme: Theme) -> bytes:
    """Give the SVG of a light figure the colours of another theme, which is not drawn again.

    Parameters
    ----------
    svg : of :func:`render`, of a figure in which every colour is one of the light theme's
    theme : the other

    Raises
    ------
    UnknownNameError : neither ``light`` nor ``dark``
    """
    light, other = THEMES["light"], colours_of(theme)
    into = {
        getattr(light, role.name).encode(): getattr(other, role.name).encode()
        for role in fields(ThemeColours)
    }
    return _COLOUR.sub(lambda found: into.get(found[0], found[0]), svg)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG or SVG, by the path's suffix; the same bytes each time.

    Returns
    -------
    the path

    Raises
    ------
    UnknownNameError : another suffix
    StorageError : a full disk, a missing folder or permission
    """
    target = Path(path)
    suffix = target.suffix.lower().removeprefix(".")
    if suffix == "png":
        write_bytes(target, render(figure, "png"))
    elif suffix == "svg":
        write_bytes(target, render(figure, "svg"))
    else:
        raise UnknownNameError("form of figure", suffix, ("png", "svg"), where=str(target))
    return target
