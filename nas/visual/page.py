"""One HTML page that needs nothing else: no network, no fonts, no libraries; for screens of any width, and for paper.

Text from files is escaped here, at the one place where it becomes HTML. A content security policy forbids the page to
load anything, so that a hostile run directory cannot make it.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading; `body` is HTML made by the functions below. `level` 3 is a part of the
    section before it."""

    title: str
    body: str
    level: int = 2


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page: a table of contents, then the sections."""
    contents = "".join(
        f'<li class="level{section.level}"><a href="#part{number}">{escape(section.title)}</a></li>'
        for number, section in enumerate(sections)
    )
    parts = "".join(
        f'<section aria-labelledby="part{number}"><h{section.level} id="part{number}">{escape(section.title)}'
        f"</h{section.level}>{section.body}</section>"
        for number, section in enumerate(sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head><body>'
        '<a class="skip" href="#main">Skip to the results</a>'
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav><main id="main">{parts}</main>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of plain text; it scrolls by itself on a narrow screen. Columns of numbers align right."""
    figures = [all(_is_number(row[at]) for row in rows) for at in range(len(header))]
    head = "".join(
        f'<th scope="col"{" class=number" if right else ""}>{escape(cell)}</th>'
        for cell, right in zip(header, figures, strict=True)
    )
    body = "".join("<tr>" + "".join(map(_cell, row, figures)) + "</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_number(text: str) -> bool:
    """Whether a cell may stand in a column of numbers: digits, or nothing."""
    return not text or text == "all" or text.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()


def _cell(text: str, right: bool = False) -> str:
    return f'<td class="number">{escape(text)}</td>' if right else f"<td>{escape(text)}</td>"


def numbers(entries: Sequence[tuple[str, str]]) -> str:
    """The few figures that a reader looks for first, large."""
    return (
        '<dl class="numbers">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{_breakable(value)}</dd></div>" for name, value in entries)
        + "</dl>"
    )


def _breakable(text: str) -> str:
    """Text that a narrow screen may break after an underscore rather than anywhere."""
    return escape(text).replace("_", "_<wbr>")


def preformatted(text: str, label: str) -> str:
    """Text as it is in a file, folded away until it is wanted."""
    return f"<details><summary>{escape(label)}</summary><pre>{escape(text)}</pre></details>"


def image(content: bytes, form: str, alt: str, caption: str = "", wide: bool = False) -> str:
    """An SVG, PNG or GIF with its text alternative; a wide one is scrolled on a narrow screen, not shrunk."""
    kind = "svg+xml" if form == "svg" else form
    says = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    shown = f'<img alt="{escape(alt)}" src="{_data(f"image/{kind}", content)}">'
    if wide:
        shown = f'<div class="wide" tabindex="0" role="region" aria-label="picture, scrolls sideways">{shown}</div>'
    return f"<figure>{shown}{says}</figure>"


def slider(frames: Sequence[bytes], labels: Sequence[str], alts: Sequence[str], name: str) -> str:
    """PNG frames with a slider (arrow keys work) and a button that plays them; on paper the last one is printed."""
    last = len(frames) - 1
    images = "".join(
        f'<img alt="{escape(alt)}" data-label="{escape(label)}"{"" if at == last else " hidden"} '
        f'src="{_data("image/png", frame)}">'
        for at, (frame, label, alt) in enumerate(zip(frames, labels, alts, strict=True))
    )
    return (
        f'<figure class="film"><div class="controls"><button type="button">Play</button>'
        f'<label>{escape(name)} <input type="range" min="0" max="{last}" value="{last}" step="1"></label>'
        f'<output aria-live="polite">{escape(labels[last])}</output></div>'
        f'<div class="wide" tabindex="0" role="region" aria-label="cells, scroll sideways">{images}</div></figure>'
    )


def audio(waveform: NDArray[np.floating], rate: int, label: str) -> str:
    """A waveform [T] in [-1, 1] as 16-bit WAV inside the page."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    source = _data("audio/wav", stream.getvalue())
    return f'<audio controls preload="metadata" aria-label="{escape(label)}" src="{source}"></audio>'


def trials(title: str, rows: Sequence[tuple[str, str, str, str, NDArray[np.floating] | None]], rate: int) -> str:
    """A table of (utterance, attack, score, verdict, waveform or None) with a player where there is audio."""
    body = ""
    for utterance, attack, score, verdict, waveform in rows:
        heard = "" if waveform is None else audio(waveform, rate, f"{utterance}, attack {attack}, score {score}")
        body += "<tr>" + "".join(map(_cell, (utterance, attack, score, verdict))) + f"<td>{heard}</td></tr>"
    head = "".join(f'<th scope="col">{name}</th>' for name in ("utterance", "attack", "score", "decision", "listen"))
    return (
        f'<div class="wide trials" tabindex="0" role="region" aria-label="{escape(title)}"><table>'
        f"<caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


STYLE = """
:root{--ink:#1f2933;--muted:#52606d;--rule:#c9d1da;--panel:#f5f7fa;--link:#005a8f}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:0 1rem 4rem;font:16px/1.55 system-ui,sans-serif;
color:var(--ink);background:#fff}
header{padding:2rem 0 .5rem;border-bottom:3px solid var(--ink)}
h1{margin:0;font-size:1.9rem;line-height:1.2;overflow-wrap:anywhere}h2{margin:2.5rem 0 .75rem;font-size:1.4rem}
h3{margin:1.75rem 0 .5rem;font-size:1.1rem}
header p,figcaption,caption,.quiet{color:var(--muted)}
header p,p,li,figcaption,caption,summary,td{overflow-wrap:anywhere}td{min-width:4rem}
a{color:var(--link)}a:focus-visible,button:focus-visible,input:focus-visible,summary:focus-visible,.wide:focus-visible
{outline:3px solid #d55e00;outline-offset:2px}
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:1rem;background:#fff;padding:.5rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:1rem 0}
nav .level3{font-size:.9rem}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0}
.numbers div{background:var(--panel);border-radius:.6rem;padding:.75rem 1rem}
dt{font-size:.85rem;color:var(--muted)}dd{margin:0;font-size:1.3rem;font-weight:700;overflow-wrap:anywhere}
figure{margin:1rem 0}img{max-width:100%;height:auto;display:block}img[hidden]{display:none}
.wide img{min-width:46rem}
.wide{overflow-x:auto}table{border-collapse:collapse;min-width:50%;font-size:.92rem}
caption{text-align:left;padding:.25rem 0}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--rule);
vertical-align:middle}.number{text-align:right;font-variant-numeric:tabular-nums}
pre{overflow-x:auto;background:var(--panel);padding:1rem;border-radius:.6rem;font-size:.82rem}
summary{cursor:pointer;padding:.4rem 0}
.controls{display:flex;flex-wrap:wrap;align-items:center;gap:.75rem 1rem;margin-bottom:.75rem}
.controls label{flex:1 1 14rem;display:flex;gap:.6rem;align-items:center}
.controls input{flex:1;min-width:8rem;height:2rem}
button{font:inherit;padding:.4rem 1.1rem;border:2px solid var(--ink);border-radius:.5rem;
background:#fff;color:var(--ink)}
output{font-weight:700;min-width:6rem}audio{width:15rem;max-width:60vw;height:2.2rem}
@media(max-width:40rem){.trials tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--rule)}
.trials thead{display:none}.trials td{display:inline-block;min-width:0;border:0;padding:.1rem .8rem .1rem 0}
.trials td:last-child{display:block}.trials audio{width:100%;max-width:100%}}
.remark{border-left:4px solid #d55e00;background:var(--panel);padding:.5rem 1rem}
@media print{nav,.controls,audio,.skip{display:none}section{break-inside:avoid-page}body{font-size:11pt}}
"""

SCRIPT = """
document.querySelectorAll('.film').forEach(function (film) {
  var slider = film.querySelector('input'), button = film.querySelector('button'), says = film.querySelector('output');
  var frames = film.querySelectorAll('img'), timer = null;
  function show() {
    frames.forEach(function (frame, at) { frame.hidden = at !== Number(slider.value); });
    says.textContent = frames[slider.value].dataset.label;
    slider.setAttribute('aria-valuetext', says.textContent);
  }
  function stop() { clearInterval(timer); timer = null; button.textContent = 'Play'; }
  slider.addEventListener('input', function () { stop(); show(); });
  button.addEventListener('click', function () {
    if (timer) { stop(); return; }
    if (Number(slider.value) === frames.length - 1) slider.value = 0;
    show();
    button.textContent = 'Pause';
    timer = setInterval(function () {
      slider.value = Number(slider.value) + 1;
      show();
      if (Number(slider.value) === frames.length - 1) stop();
    }, 600);
  });
  show();
});
"""
