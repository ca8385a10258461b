"""A trace that prints, draws and saves itself. Knows no model and no loop; its fields are in data.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import arguments, tables
from softllama.base.files import check_place, replacing, save_as
from softllama.errors import UsageError
from softllama.trace.data import TraceData

MARKS = {".jsonl": b'{"kind": "trace"', ".npz": b"header.npy"}  # what files of traces begin with
CSV_MARK = b"index,position,mode,"


class Trace(TraceData):
    """The record of a generation that has ended: see `TraceData` for the fields. In a notebook it shows its first steps."""

    def table(self, width: int = 100, top: int | None = None) -> str:
        """The trace as text: a line for each step, and the text that the steps read as.

        Args:
            width: columns.
            top: tokens of each mixture, on several lines if they need them; None for up to 5 that fit on one.
        """
        from softllama.show import console
        from softllama.trace import view

        return console.to_text(view.trace(self, width, top), width)

    def show(self, top: int | None = None) -> None:
        """Print the trace as `softllama trace show` does. top: as in `table`."""
        from softllama.show import console
        from softllama.trace import view

        out = console.console()
        out.print(view.trace(self, out.width, top))

    def page(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as one HTML page that needs nothing else: a heat map of the mixtures over time.

        Raises:
            UsageError: the name does not end in .html, or a file of another kind is there.
        """
        from softllama.trace import page

        page.write(self, arguments.path(path))

    def csv(self) -> str:
        """The steps as CSV, with the columns of `to_dataframe`."""
        columns = self.step_columns()
        return tables.to_csv(list(columns), zip(*columns.values(), strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .npz or .jsonl, which `softllama.trace.load` reads; or .csv, a line for each step; or .html, a page.

        Both hold the same. An .npz file is the smaller and the faster, JSON lines are read by anything.

        An earlier file is replaced as a whole: it is there until the new one is complete.

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written.
        """
        p = arguments.path(path)
        suffix = p.suffix.lower()
        if suffix == ".html":
            self.page(p)
        elif suffix == ".npz":
            with replacing(p) as f:
                np.savez_compressed(f, **self.arrays())
        elif suffix == ".jsonl":  # line by line, as a trace of whole vectors is large
            with replacing(p) as f:  # half a surrogate pair, which a prompt may hold, is no UTF-8; its escape is JSON
                f.writelines(line.encode("utf-8", "backslashreplace") + b"\n" for line in self.jsonl())
        else:
            save_as(p, "a trace", {".jsonl": str, ".npz": str, ".csv": self.csv, ".html": str})

    def to_dataframe(self, rows: str = "steps") -> Any:
        """A pandas DataFrame with a row for each step, or for each token that was fed.

        Args:
            rows: "steps", or "tokens": step, token_id, token and weight of what was fed, as far as the trace holds it (each
                step's n_tokens says how many there were).

        The columns of steps: index, position, mode, thinking, token_id and token (the readout), text (what became
        readable), n_tokens and weight (how many tokens were fed, and the largest weight), effective_tokens, entropy (nats),
        logp (of the readout), noise, hidden, left_out, seconds, why.

        Raises:
            UsageError: rows is something else.
            SoftLlamaError: pandas is not installed.
        """
        if rows not in ("steps", "tokens"):
            raise UsageError(f"rows = {rows!r} is not allowed", "use steps or tokens")
        columns = self.step_columns() if rows == "steps" else self.token_columns()
        return tables.dataframe(list(columns), zip(*columns.values(), strict=True))

    def __repr__(self) -> str:
        return (
            f"Trace({self.policy}, {self.n_thinking} thinking + {self.n_answer} answer tokens, {self.stop_text}, "
            f"{self.answer[:60]!r})"
        )

    def _repr_html_(self) -> str:
        from softllama.trace import notebook

        return notebook.html(self)


def check_export(path: str | os.PathLike[str]) -> None:
    """Raise UsageError for a place where `Trace.save` cannot write, or where a file is that may not be replaced."""
    p = Path(path)
    if p.suffix == ".html":
        from softllama.trace import page

        page.check_path(p)
    elif p.suffix == ".csv":
        check_place(p, "a table of steps", CSV_MARK)
    else:
        check_path(p, "end the name in .jsonl, .npz, .csv or .html")


def check_path(path: str | os.PathLike[str], hint: str = "end the name in .npz or .jsonl") -> None:
    """Raise UsageError for a place where a trace cannot be saved, or where a file of another kind is."""
    p = Path(path)
    if p.suffix not in MARKS:
        raise UsageError(f"cannot save a trace as {p.name!r}", hint)
    check_place(p, "a trace", MARKS[p.suffix])
