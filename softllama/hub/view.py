"""How lists of models look. Knows rich and Facts. Does not know where the facts come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from softllama.base.text import size
from softllama.show.printable import visible

if TYPE_CHECKING:
    from softllama.hub.facts import Facts


def models(facts: list[Facts]) -> RenderableType:
    """Draw a line for each model; what is wrong with one stands below it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    for column in ("size", "arch", "quant", "mixtures", "thinks"):  # short, so that names fit into 60 columns
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=True)
    for f in facts:
        name = Text(visible(f.name), style="" if f.takes_mixtures else "dim")
        why = f.problem or f.refusal
        if why:
            name.append(f"\n  {'damaged: ' if f.problem else ''}{visible(why)}", style="dim")
        takes = "" if f.problem else "yes" if f.takes_mixtures else "no"
        architecture = visible(f.architecture) if f.architecture else ""
        thinks = "" if why else "yes" if f.thinking else "no"
        table.add_row(name, size(f.n_bytes), architecture, f.quantization, takes, thinks)
    return table


def model_facts(f: Facts) -> Text:
    """Draw one model's facts, a line each."""
    answer = (
        "no: " + (f.problem or f.refusal) if not f.takes_mixtures else f"yes, {f.note or 'as far as the header tells'}"
    )
    lines = {
        "name": f.name,
        "title": f.title,
        "source": f.source,
        "files": "\n".join(f.files),
        "size": size(f.n_bytes),
        "architecture": f.architecture,
        "parameters": f"{f.parameters:,}",
        "quantization": f.quantization,
        "embedding table": f"{f.n_vocab:,} tokens x {f.n_embd:,}, {f.table}" if f.table else "none",
        "layers": str(f.n_layer),
        "context": f"{f.n_ctx:,} tokens",
        "takes mixtures": answer,
        "chat template": "yes" if f.chat_template else "no",
        "thinking": ", ".join(t for t in (f.thinking or "no known tags", f.thinking_note) if t),
        "asks for policy": f.policy,
    }
    shown = Text(no_wrap=True, overflow="ignore")  # paths are not wrapped
    for name, text in lines.items():
        for line in text.split("\n") if text else ():
            shown.append(f"{name:16}", style="dim")
            shown.append(f"{visible(line)}\n")
    shown.rstrip()
    return shown
