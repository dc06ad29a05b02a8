"""Small pieces of HTML. Text is escaped here and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from .reading import text


class Html(str):
    """Markup that is already escaped."""

    __slots__ = ()


class Section(NamedTuple):
    """A part of the page, with the name that its link in the contents has."""

    anchor: str
    title: str
    body: Html


def html(value: Any) -> Html:
    """Escaped text; markup as it is; n/a where there is nothing."""
    return value if isinstance(value, Html) else Html(escape(text(value)))


def paragraph(value: Any, kind: str = "") -> Html:
    """A paragraph, of a class where one is given."""
    of_kind = f' class="{kind}"' if kind else ""
    return Html(f"<p{of_kind}>{html(value)}</p>")


def unmeasured(what: str) -> Html:
    """A section's body where there are no numbers: words, and never a made-up number."""
    return paragraph(f"Not measured in this evaluation: {what}.", "unmeasured")


def table(heading: Sequence[Any], body: Sequence[Sequence[Any]], *, words: int = 1, caption: str = "") -> Html:
    """A table that scrolls within itself where it is wide; its first ``words`` columns are text, and the rest numbers."""
    head = "".join(f'<th scope="col"{_kind(i, words)}>{html(cell)}</th>' for i, cell in enumerate(heading))
    lines = []
    for row in body:
        cells = [
            f'<th scope="row"{_kind(0, words)}>{html(cell)}</th>'
            if i == 0
            else f"<td{_kind(i, words)}>{html(cell)}</td>"
            for i, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<caption>{html(caption)}</caption>" if caption else ""
    # A region that scrolls must be reachable by keyboard.
    return Html(
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption or "table")}"><table>{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def shade(value: str, share: float | None) -> Html:
    """A number over a tint as strong as its share; the tint stays so pale that text over it keeps its contrast."""
    if share is None:
        return html(value)
    return Html(f'<span class="shade" style="--share:{100 * min(max(share, 0), 1):.0f}%">{escape(value)}</span>')


def picture(images: tuple[bytes, bytes], description: str, caption: Any = "") -> Html:
    """A plot within the page, in the theme of the reader: light, and dark."""
    light, dark = (f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in images)
    below = f"<figcaption>{html(caption)}</figcaption>" if caption else ""
    return Html(
        f'<figure><picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{escape(description)}"></picture>{below}</figure>'
    )


def details(title: str, body: Html) -> Html:
    """What only some readers want, closed at first."""
    return Html(f"<details><summary>{escape(title)}</summary>{body}</details>")


def joined(*parts: Html | None) -> Html:
    """Pieces one after another."""
    return Html("\n".join(part for part in parts if part))


def _kind(column: int, words: int) -> str:
    return "" if column < words else ' class="number"'
