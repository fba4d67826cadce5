"""A network as a drawing: one block a layer, with the shapes that go in and out.

One layout serves both forms. The SVG needs no Graphviz, follows the page's text colour when it
stands in a page, and the reader's light or dark setting when it stands alone.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inkproof.layers import Place, Residual

__all__ = ["Block", "blocks_of", "png", "svg", "text_width"]

_NAME_SIZE: Final = 14.0
_TEXT_SIZE: Final = 12.0
_LINE: Final = 20.0
_PADDING: Final = 12.0
_GAP: Final = 28.0
_MARGIN: Final = 8.0
_MIN_WIDTH: Final = 240.0
_ARROW: Final = 5.0
_LANE: Final = 20.0
_TINT: Final = 0.10

# Upper bounds of how wide a character is, in em: those of the widest sans-serif fonts that
# systems come with (DejaVu Sans Bold, Verdana Bold). A narrower font only leaves more room.
_NARROW: Final = frozenset(" !'(),-./:;I[\\]`fijlrt|J")
_MIDDLE: Final = frozenset('abcdeghknopqsuvxyz0123456789_?$*"{}EFLSTYZ')
_WIDE: Final = frozenset("%MWm@")
_NARROW_EM: Final = 0.56
_MIDDLE_EM: Final = 0.78
_BROAD_EM: Final = 0.98
_WIDE_EM: Final = 1.30

_STYLE: Final = (
    "svg:root.inkproof-diagram{color:#1b1f24}"
    "svg:root.inkproof-diagram .paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){"
    "svg:root.inkproof-diagram{color:#e6edf3}"
    "svg:root.inkproof-diagram .paper{fill:#0d1117}}"
)
_FONT: Final = "'Segoe UI',Roboto,Helvetica,Arial,'DejaVu Sans',sans-serif"


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of the drawing.

    Parameters
    ----------
    name : in bold, on the first line
    detail : on the second line, such as ``"Dense, relu, 392,500 parameters"``
    input_shape, output_shape : without the batch axis; no input for the first block
    skips : 0, or how many blocks back the one is whose output comes here by a second arrow
    """

    name: str
    detail: str
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...]
    skips: int = 0


@dataclass(frozen=True, kw_only=True)
class _Rectangle:
    x: float
    y: float
    width: float
    height: float
    tinted: bool


@dataclass(frozen=True, kw_only=True)
class _Arrow:
    x: float
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class _Skip:
    """From the right edge of one block around those between to the right edge of another."""

    left: float
    right: float
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class _Text:
    x: float
    y: float
    text: str
    size: float
    bold: bool


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    width: float
    height: float
    rectangles: tuple[_Rectangle, ...]
    arrows: tuple[_Arrow, ...]
    skips: tuple[_Skip, ...]
    texts: tuple[_Text, ...]


def text_width(text: str, size: float) -> float:
    """Bound the width of a text from above, in the units of ``size``, for any common font."""
    return size * sum(map(_em, text))


def blocks_of(places: Sequence[Place]) -> list[Block]:
    """Give the blocks of a network's layers.

    Parameters
    ----------
    places : from :func:`inkproof.layers.walk`

    Returns
    -------
    one block for each layer, a Residual's after those of its layers; its second arrow comes from
    the block before them, so that there must be one before the first of all
    """
    blocks: list[Block] = []
    opened: list[tuple[Place, int]] = []
    for place in places:
        while opened and not place.path.startswith(f"{opened[-1][0].path}/"):
            blocks.append(_sum_block(*opened.pop(), len(blocks)))
        if isinstance(place.layer, Residual):
            opened.append((place, len(blocks)))
        else:
            blocks.append(_block(place))
    while opened:
        blocks.append(_sum_block(*opened.pop(), len(blocks)))
    return blocks


def svg(blocks: Sequence[Block], *, title: str, show_shapes: bool = True) -> str:
    """Draw as SVG.

    Parameters
    ----------
    blocks : from the first to the last
    title : what a screen reader says
    show_shapes : whether each block has a line with its shapes

    Returns
    -------
    an ``<svg>`` element without ids, which may stand in a page any number of times
    """
    from xml.sax.saxutils import escape, quoteattr  # brings urllib along: slow

    drawing = _layout(blocks, show_shapes=show_shapes)
    size = f"{drawing.width:g} {drawing.height:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="inkproof-diagram" viewBox="0 0 {size}" '
        f'width="{drawing.width:g}" height="{drawing.height:g}" role="img" '
        'style="max-width:100%;height:auto" '
        f'aria-label={quoteattr(title)} font-family="{_FONT}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="paper" width="100%" height="100%" fill="none"/>',
    ]
    for box in drawing.rectangles:
        fill = f'fill="currentColor" fill-opacity="{_TINT:g}"' if box.tinted else 'fill="none"'
        lines.append(
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" '
            f'{fill} stroke="currentColor"/>'
        )
    for arrow in drawing.arrows:
        x, tip = arrow.x, arrow.end
        lines.append(
            f'<path d="M{x:g} {arrow.begin:g}V{tip - _ARROW:g}" stroke="currentColor"/>'
            f'<path d="M{x - _ARROW:g} {tip - 2 * _ARROW:g}H{x + _ARROW:g}L{x:g} {tip:g}Z" '
            'fill="currentColor"/>'
        )
    for skip in drawing.skips:
        tip, y = skip.left, skip.end
        lines.append(
            f'<path d="M{tip:g} {skip.begin:g}H{skip.right:g}V{y:g}H{tip + _ARROW:g}" '
            'fill="none" stroke="currentColor"/>'
            f'<path d="M{tip + 2 * _ARROW:g} {y - _ARROW:g}V{y + _ARROW:g}L{tip:g} {y:g}Z" '
            'fill="currentColor"/>'
        )
    for text in drawing.texts:
        weight = ' font-weight="bold"' if text.bold else ""
        lines.append(
            f'<text x="{text.x:g}" y="{text.y:g}" font-size="{text.size:g}"{weight} '
            f'text-anchor="middle" fill="currentColor">{escape(text.text)}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def png(blocks: Sequence[Block], *, show_shapes: bool = True, scale: float = 2.0) -> bytes:
    """Draw as PNG: dark on white, the same bytes each time.

    Parameters
    ----------
    blocks, show_shapes : as in :func:`svg`
    scale : pixels for each unit of the SVG
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Polygon, Rectangle

    drawing = _layout(blocks, show_shapes=show_shapes)
    points = 72.0  # a unit of the drawing is a point, so that font sizes carry over
    figure = Figure(
        figsize=(drawing.width / points, drawing.height / points),
        dpi=points * scale,
        facecolor="white",
    )
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.axis("off")
    ink = "#1b1f24"
    for box in drawing.rectangles:
        axes.add_patch(
            Rectangle(
                (box.x, box.y),
                box.width,
                box.height,
                facecolor=(*_rgb(ink), _TINT if box.tinted else 0.0),
                edgecolor=ink,
                linewidth=1,
            )
        )
    for arrow in drawing.arrows:
        x, tip = arrow.x, arrow.end
        axes.plot([x, x], [arrow.begin, tip - _ARROW], color=ink, linewidth=1, marker="")
        head = [(x - _ARROW, tip - 2 * _ARROW), (x + _ARROW, tip - 2 * _ARROW), (x, tip)]
        axes.add_patch(Polygon(head, closed=True, facecolor=ink, edgecolor="none"))
    for skip in drawing.skips:
        tip, y = skip.left, skip.end
        across = [tip, skip.right, skip.right, tip + _ARROW]
        axes.plot(across, [skip.begin, skip.begin, y, y], color=ink, linewidth=1, marker="")
        head = [(tip + 2 * _ARROW, y - _ARROW), (tip + 2 * _ARROW, y + _ARROW), (tip, y)]
        axes.add_patch(Polygon(head, closed=True, facecolor=ink, edgecolor="none"))
    for text in drawing.texts:
        axes.text(
            text.x,
            text.y,
            text.text,
            fontsize=text.size,
            fontweight="bold" if text.bold else "normal",
            fontfamily="DejaVu Sans",
            color=ink,
            ha="center",
            va="baseline",
            parse_math=False,
            usetex=False,
        )
    out = io.BytesIO()
    # Without the software's version the bytes do not change with it; the box guards against a
    # user's settings that crop.
    figure.savefig(
        out,
        format="png",
        dpi=points * scale,
        transparent=False,
        bbox_inches=figure.bbox_inches,
        metadata={"Software": None},
    )
    return out.getvalue()


def _block(place: Place) -> Block:
    parameters = place.layer.count_params(place.input_shape)
    details = [place.layer.kind, *place.layer.details()]
    if parameters:
        details.append(f"{parameters:,} parameters")
    return Block(
        name=str(place.layer.name),
        detail=", ".join(details),
        input_shape=place.input_shape,
        output_shape=place.output_shape,
    )


def _sum_block(place: Place, first: int, number: int) -> Block:
    return dataclasses.replace(_block(place), skips=number - first + 1)


def _layout(blocks: Sequence[Block], *, show_shapes: bool) -> _Drawing:
    width = max([_MIN_WIDTH, *(_block_width(block, show_shapes) for block in blocks)])
    head = 2 * _LINE + _PADDING
    height = head + (_LINE + _PADDING if show_shapes else 0.0)
    middle = _MARGIN + width / 2
    rectangles: list[_Rectangle] = []
    arrows: list[_Arrow] = []
    texts: list[_Text] = []
    for number, block in enumerate(blocks):
        top = _MARGIN + number * (height + _GAP)
        if number:
            arrows.append(_Arrow(x=middle, begin=top - _GAP, end=top))
        rectangles.append(_Rectangle(x=_MARGIN, y=top, width=width, height=head, tinted=True))
        first = top + _PADDING / 2 + 0.75 * _LINE
        texts.append(_Text(x=middle, y=first, text=block.name, size=_NAME_SIZE, bold=True))
        texts.append(
            _Text(x=middle, y=first + _LINE, text=block.detail, size=_TEXT_SIZE, bold=False)
        )
        if show_shapes:
            cells = _cells(block)
            share = width / len(cells)
            for column, cell in enumerate(cells):
                left = _MARGIN + column * share
                rectangles.append(
                    _Rectangle(
                        x=left, y=top + head, width=share, height=height - head, tinted=False
                    )
                )
                below = top + head + _PADDING / 2 + 0.7 * _LINE
                texts.append(
                    _Text(x=left + share / 2, y=below, text=cell, size=_TEXT_SIZE, bold=False)
                )
    count = len(blocks)
    lanes = _lanes(blocks)
    right = _MARGIN + width
    skips = [
        _Skip(
            left=right,
            right=right + lanes[number] * _LANE,
            begin=_MARGIN + (number - block.skips) * (height + _GAP) + 0.7 * head,
            end=_MARGIN + number * (height + _GAP) + 0.3 * head,
        )
        for number, block in enumerate(blocks)
        if block.skips
    ]
    return _Drawing(
        width=width + 2 * _MARGIN + max([0, *lanes]) * _LANE,
        height=2 * _MARGIN + count * height + max(count - 1, 0) * _GAP,
        rectangles=tuple(rectangles),
        arrows=tuple(arrows),
        skips=tuple(skips),
        texts=tuple(texts),
    )


def _lanes(blocks: Sequence[Block]) -> list[int]:
    """Say how far out the second arrow of each block goes: beyond all those between its ends."""
    lanes: list[int] = []
    for number, block in enumerate(blocks):
        between = lanes[number - block.skips + 1 : number]
        lanes.append(1 + max([0, *between]) if block.skips else 0)
    return lanes


def _block_width(block: Block, show_shapes: bool) -> float:
    widths = [text_width(block.name, _NAME_SIZE), text_width(block.detail, _TEXT_SIZE)]
    if show_shapes:
        cells = _cells(block)
        widest = max(text_width(cell, _TEXT_SIZE) for cell in cells)
        return max(*(each + 2 * _PADDING for each in widths), len(cells) * (widest + 2 * _PADDING))
    return max(widths) + 2 * _PADDING


def _cells(block: Block) -> list[str]:
    output = f"Output shape: {_shape(block.output_shape)}"
    if block.input_shape is None:
        return [output]
    return [f"Input shape: {_shape(block.input_shape)}", output]


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['None', *map(str, shape)])})"


def _em(character: str) -> float:
    if character in _NARROW:
        return _NARROW_EM
    if character in _MIDDLE:
        return _MIDDLE_EM
    return _BROAD_EM if character.isascii() and character not in _WIDE else _WIDE_EM


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue
