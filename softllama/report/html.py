"""Reports as one HTML page that needs nothing else: no script, no network, no other files. Knows no model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from softllama.report import svg
from softllama.report.data import MARK, Cell, Report, Table, show
from softllama.report.svg import escape
from softllama.vectors.statistics import Estimate

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { --bg: #fff; --fg: #1b1f24; --dim: #5b6470; --line: #d8dde3; --soft: #f4f6f8;
  --c0: #2563eb; --c1: #d9480f; --c2: #0f8a5f; --c3: #8b5cf6; --c4: #b7791f; --c5: #be185d; --c6: #0e7490; --c7: #64748b; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --fg: #e6e9ed; --dim: #9aa4b0; --line: #333a42; --soft: #1c2127;
  --c0: #6ea8fe; --c1: #ff8a4c; --c2: #4ade9b; --c3: #b79cff; --c4: #e6b84d; --c5: #f472b6; --c6: #4cc9e0; --c7: #a3b0bf; } }
body { margin: 0 auto; max-width: 54rem; padding: 1.5rem 1rem 4rem; background: var(--bg); color: var(--fg);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
section + section { margin-top: 4rem; border-top: 2px solid var(--line); padding-top: 2rem; }
.question { color: var(--dim); font-size: 1.05rem; margin: 0 0 1rem; }
.answer { background: var(--soft); border-left: 4px solid var(--c0); padding: .7rem 1rem; margin: 0; }
.answer p { margin: .3rem 0; } .answer p:first-child { font-size: 1.1rem; font-weight: 600; }
.note, figcaption, nav { color: var(--dim); font-size: .875rem; } figure { margin: 1.2rem 0; }
figcaption b { color: var(--fg); font-weight: 600; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--fg); }
svg .tick { fill: var(--dim); } svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--dim); }
svg .error { stroke: var(--fg); stroke-width: 1.5; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; } .short { white-space: nowrap; } th { font-weight: 600; }
td small { color: var(--dim); white-space: nowrap; }
pre { background: var(--soft); padding: .7rem 1rem; overflow-x: auto; font-size: .8125rem; }
ul { padding-left: 1.2rem; } li { margin: .25rem 0; }
"""


def page(reports: Sequence[Report]) -> str:
    """A page of one report or several."""
    title = reports[0].title if len(reports) == 1 else "softllama: the studies"
    links = ""
    if len(reports) > 1:
        items = "".join(
            f'<li><a href="#{escape(r.name)}">{escape(r.title)}</a>: {escape(r.answer[0])}</li>' for r in reports
        )
        links = f"<h1>{escape(title)}</h1><nav><ul>{items}</ul></nav>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"{MARK.decode()}\n"
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{links}\n"
        + "\n".join(section(r) for r in reports)
        + "\n</body></html>\n"
    )


def section(r: Report) -> str:
    """One report, without the page around it."""
    parts = [
        f'<section id="{escape(r.name)}"><h1>{escape(r.title)}</h1><p class="question">{escape(r.question)}</p>',
        '<div class="answer">' + "".join(f"<p>{escape(a)}</p>" for a in r.answer) + "</div>",
    ]
    for f in r.figures:
        note = f" {escape(f.note)}" if f.note else ""
        parts.append(f"<figure>{svg.figure(f)}<figcaption><b>{escape(f.title)}.</b>{note}</figcaption></figure>")
    parts += [_table(t) for t in r.tables if t.rows]
    for title, lines in (("Controls", r.controls), ("How it was measured", r.method)):
        if lines:
            parts.append(f"<h2>{title}</h2><ul>" + "".join(f"<li>{escape(x)}</li>" for x in lines) + "</ul>")
    if r.command:
        parts.append(f"<h2>To repeat it</h2><pre>{escape(r.command)}</pre>")
    if r.manifest:
        made = json.dumps(r.manifest, indent=2, ensure_ascii=False)
        parts.append(
            f'<details><summary class="note">Manifest; {r.seconds:.0f} seconds</summary><pre>{escape(made)}</pre></details>'
        )
    return "\n".join([*parts, "</section>"])


def _table(t: Table) -> str:
    kinds = [_kind(t, i) for i in range(len(t.head))]
    head = "".join(f"<th{_class(x)}>{escape(h)}</th>" for h, x in zip(t.head, kinds, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{_class(x)}>{_cell(c)}</td>" for c, x in zip(row, kinds, strict=True)) + "</tr>"
        for row in t.rows
    )
    note = f'<p class="note">{escape(t.note)}</p>' if t.note else ""
    return (
        f"<h2>{escape(t.title)}</h2>{note}<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _kind(t: Table, column: int) -> str:
    """The classes of a column: words to the left, in one line where they are short."""
    cells = [r[column] for r in t.rows]
    if not all(isinstance(c, str) for c in cells):
        return ""
    return "text short" if max((len(str(c)) for c in cells), default=0) <= 32 else "text"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _cell(cell: Cell) -> str:
    shown = escape(show(cell))
    if isinstance(cell, Estimate):
        return re.sub(r" (\[.*\])$", r" <small>\1</small>", shown)
    return shown
