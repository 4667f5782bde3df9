"""The look that every picture shares: colours that colour-blind people tell apart, safe text, stable bytes.

Figures are `matplotlib.figure.Figure` objects, never pyplot's: nothing global, no display, nothing to close.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from nas.errors import NasError
from nas.files import write_bytes
from nas.space import Identity, Linear, Pool, Primitive, SearchSpace, Zero

if Path(matplotlib.matplotlib_fname()).absolute().parent == Path.cwd():
    # A matplotlibrc that lies in the current folder, say of a corpus, could have texts set by LaTeX and its programs.
    matplotlib.rcdefaults()

INK = "#1F2933"
MUTED = "#5F6C7B"
RULE = "#C9D1DA"
PANEL = "#F5F7FA"
PAPER = "#FFFFFF"

FORMATS = ("svg", "png", "pdf")
PIXELS_PER_INCH = 160
LONGEST_TEXT = 28


@dataclass(frozen=True)
class Family:
    """A family of operations: its colour (Okabe and Ito's palette), and its dashes for those who see no colour."""

    name: str
    colour: str
    dashes: tuple[float, ...] = ()


CONVOLUTION = Family("convolution", "#0072B2")
DILATED = Family("depthwise dilated convolution", "#009E73")
MAX_POOL = Family("max pool", "#D55E00", (5.0, 2.0))
AVERAGE_POOL = Family("average pool", "#B8860B", (5.0, 1.5, 1.2, 1.5))
SKIP = Family("skip connection", "#5F6C7B", (1.4, 1.6))
NOTHING = Family("none", "#A9B4C0", (1.0, 3.0))
OTHER = Family("other operation", "#A6478B")
FAMILIES = (CONVOLUTION, DILATED, MAX_POOL, AVERAGE_POOL, SKIP, NOTHING, OTHER)


def family(primitive: Primitive) -> Family:
    """The family that a primitive is drawn as."""
    if isinstance(primitive, Linear):
        return DILATED if primitive.dilation > 1 or primitive.depthwise else CONVOLUTION
    if isinstance(primitive, Pool):
        return MAX_POOL if primitive.kind == "max" else AVERAGE_POOL
    if isinstance(primitive, Identity):
        return SKIP
    return NOTHING if isinstance(primitive, Zero) else OTHER


def family_of(name: str, space: SearchSpace) -> Family:
    """The family of a named primitive; a name that the space does not have is drawn as another operation."""
    known = {primitive.name: primitive for primitive in space.primitives}
    return family(known[name]) if name in known else OTHER


def plain(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text from a file made fit to draw: one line, no control characters, not longer than `longest` characters."""
    shown = "".join(
        c if unicodedata.category(c)[0] not in "CZ" or c == " " else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def render(figure: Figure, suffix: str, pixels_per_inch: int = PIXELS_PER_INCH) -> bytes:
    """The figure as the bytes of an SVG, PNG or PDF; the same figure gives the same bytes.

    Raises:
        NasError: another format.
    """
    if suffix not in FORMATS:
        raise NasError(f"a picture ends in .svg, .png or .pdf, not {suffix!r}")
    # A fixed salt makes element ids stable; without it matplotlib draws them at random.
    settings: dict[Any, Any] = {
        "svg.hashsalt": "nas",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "path.simplify": False,
    }
    metadata = {"svg": {"Date": None, "Creator": "nas"}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    stream = io.BytesIO()
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to warn on the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format=suffix, dpi=pixels_per_inch, metadata=metadata[suffix], facecolor=PAPER)
    return stream.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write the figure in the format that the suffix names, atomically.

    Raises:
        NasError: the suffix is not .svg, .png or .pdf, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise NasError(f"{path}: a picture ends in .svg, .png or .pdf, not {path.suffix or 'nothing'!r}")
    return write_bytes(path, render(figure, suffix))
