"""The HTML that the server writes: the page to draw on, and the API's documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, Undefined
from markupsafe import Markup, escape

from inkproof import figures
from inkproof.report.page import TEMPLATES as REPORT_TEMPLATES
from inkproof.report.page import source, source_hash

__all__ = ["docs_page", "main_page"]

_TEMPLATES: Final = Path(__file__).parent / "templates"


def main_page() -> tuple[bytes, str]:
    """Write the page to draw on.

    Returns
    -------
    one HTML file that asks for nothing but this server's API, and its content security policy,
    which admits its own scripts and style by their hashes
    """
    return _page("page.html", (_TEMPLATES / "page.js").read_text(encoding="utf-8"))


def docs_page(openapi: dict[str, Any]) -> tuple[bytes, str]:
    """Write the documentation of an OpenAPI description, and the page's content security policy."""
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    return _page(
        "docs.html",
        info=openapi["info"],
        operations=operations,
        schemas=openapi.get("components", {}).get("schemas", {}),
    )


def _page(name: str, *own_scripts: str, **values: Any) -> tuple[bytes, str]:
    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=Undefined,  # OpenAPI leaves out what is empty
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["type_text"] = _type_text
    environment.filters["code"] = _code
    style = environment.get_template("page.css").render(
        light=figures.THEMES["light"], dark=figures.THEMES["dark"]
    )
    sources = [source("theme.js"), source("theme_button.js"), *own_scripts]
    page = environment.get_template(name).render(
        style=Markup(style),  # noqa: S704 - our own file, filled with our own colours
        scripts=[Markup(script) for script in sources],  # noqa: S704 - our own files
        **values,
    )
    hashes = " ".join(f"'{source_hash(script)}'" for script in sources)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src '{source_hash(style)}'; "
        "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page.encode(), policy


def _code(text: object) -> Markup:
    """Set what stands between backticks as code."""
    pieces = [escape(piece) for piece in str(text or "").split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if number % 2 else piece
        for number, piece in enumerate(pieces)
    )


def _type_text(schema: dict[str, Any]) -> str:
    """Say what a JSON schema admits, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_type_text(one) for one in schema["anyOf"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        lengths = (schema.get("minItems"), schema.get("maxItems"))
        count = f"{lengths[0]} " if lengths[0] is not None and lengths[0] == lengths[1] else ""
        return f"list of {count}{_type_text(schema.get('items', {}))}"
    if "minimum" in schema and "maximum" in schema:
        return f"{kind} {schema['minimum']:g} to {schema['maximum']:g}"
    return kind
