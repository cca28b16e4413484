"""Pieces of an HTML page as text. What they are given as text is escaped; what is markup is said to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


def json_script(name: str, text: str) -> str:
    """JSON for the page's script to read; with no '<' in it, no text can end the element or begin a comment."""
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def section(name: str, title: str, *parts: str) -> str:
    """A section under a heading; `parts` are markup."""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    body = "\n".join(part for part in parts if part)
    return f'<section id="{name}" aria-labeledby="{name}-title">\n{heading}\n{body}\n</section>'


def note(text: str) -> str:
    """A paragraph of explanation."""
    return f'<p class="note">{escape(text)}</p>'


def table(caption: str, heads: Sequence[str], rows: Iterable[str], kind: str = "", foot: str = "") -> str:
    """A table that scrolls sideways where it is too wide; `rows` and `foot` are markup, see `row`."""
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{escape(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody>{foot}"
        "</table></div>"
    )


def row(head: str, cells: Iterable[str], attributes: str = "") -> str:
    """A row; a cell is text, or a whole `<td>` as `Markup`. `attributes` are markup."""
    inner = "".join(cell if isinstance(cell, Markup) else f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr{attributes}><th scope="row">{escape(head)}</th>{inner}</tr>'


def plot(name: str, what: str, low: bool = False) -> str:
    """Where the page's script draws the figure of that name; `what` says in words what it shows."""
    return (
        f'<div class="plot{" low" * low}" id="{name}" role="img" aria-label="{escape(what)}"></div>'
        "<noscript><p>The figure needs JavaScript; the tables say the same.</p></noscript>"
    )


def bar(share: float) -> Markup:
    """A cell with a bar of this share, 0 to 1, of its width."""
    return Markup(f'<td class="bar"><span style="width:{100 * share:.1f}%"></span></td>')


def short(count: int) -> str:
    """'1.43 M'."""
    for size, unit, digits in ((10**9, "G", 2), (10**6, "M", 2), (10**3, "k", 0)):
        if count >= size:
            return f"{count / size:.{digits}f} {unit}"
    return str(count)


def duration(seconds: float) -> str:
    """'12 s', '34 min', '5 h 06 min'."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
