"""A layer diagram made safe to stand in a page: known elements and attributes, nothing else."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser
from typing import Final

__all__ = ["safe_svg", "standalone_svg"]

_ELEMENTS: Final = frozenset(
    {"circle", "g", "line", "path", "polygon", "polyline", "rect", "svg", "text", "title", "tspan"}
)
# The parser gives names in lower case, SVG's are not all so. No style, class, id, link or event.
_ATTRIBUTES: Final = {
    name.lower(): name
    for name in (
        *("aria-label", "cx", "cy", "d", "fill", "fill-opacity", "font-family", "font-size"),
        *("font-weight", "height", "points", "r", "role", "rx", "ry", "stroke", "stroke-width"),
        *("text-anchor", "transform", "viewBox", "width", "x", "x1", "x2", "xmlns", "y", "y1"),
        "y2",
    )
}


def _may_load(value: str) -> bool:
    r"""Say whether a value may name a resource: CSS reads ``\75 rl(`` as ``url(``."""
    return "url(" in value.lower() or "\\" in value


class _Cleaner(HTMLParser):
    """Writes the known elements anew, balanced, and drops the others with all that is in them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.open: list[str] = []
        self.dropped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropped or tag not in _ELEMENTS or (not self.open and tag != "svg"):
            self.dropped.append(tag)
            return
        kept = [
            f' {_ATTRIBUTES[name]}="{escape(value)}"'
            for name, value in dict(attrs).items()
            if name in _ATTRIBUTES and value is not None and not _may_load(value)
        ]
        self.out.append(f"<{tag}{''.join(kept)}>")
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.dropped:
            if tag in self.dropped:
                while self.dropped.pop() != tag:
                    pass
        elif tag in self.open:
            self.close_to(tag)

    def handle_data(self, data: str) -> None:
        if self.open and not self.dropped:
            self.out.append(escape(data))

    def close_to(self, tag: str) -> None:
        """Close elements up to and with the innermost one of this name."""
        while True:
            innermost = self.open.pop()
            self.out.append(f"</{innermost}>")
            if innermost == tag:
                return


def safe_svg(svg: str) -> str:
    """Copy an SVG drawing, leaving out all that could do more than draw.

    Parameters
    ----------
    svg : one ``<svg>`` element; what is not an SVG drawing gives an empty text

    Returns
    -------
    well-formed SVG that follows the page's text colour, without scripts, styles, links or ids
    """
    cleaner = _Cleaner()
    cleaner.feed(svg)
    cleaner.close()
    if cleaner.open:
        cleaner.close_to(cleaner.open[0])
    return "".join(cleaner.out).strip()


def standalone_svg(svg: str) -> str:
    """Give a file of a drawing: dark on white, whatever the page that shows it."""
    clean = safe_svg(svg)
    head, bracket, rest = clean.partition(">")
    if not bracket:
        return ""
    paper = '<rect width="100%" height="100%" fill="#ffffff"></rect>'
    return f'{head} color="#1b1f24">{paper}{rest}\n'
