"""Where problems come from: JSON lines, CSV, and data sets of the Hugging Face hub. The only module that imports datasets.

Knows rows as dictionaries. Does not know what a problem is.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softllama.base.files import from_json
from softllama.errors import SoftLlamaError

FORM = 'each line is {"question": "...", "answer": "..."}, with "choices": [...] for multiple choice'
HUB = "hf:"
SPLITS = ("test", "validation")  # the first that there is, unless one is named


@dataclass(frozen=True)
class Rows:
    """The rows of a file or data set.

    Attributes:
        name: Of the file or data set.
        sha256: Of its bytes; of a data set, of its rows as JSON.
        rows: (where it is, for error messages; the row) each. A row that is no JSON is its text.
    """

    name: str
    sha256: str
    rows: tuple[tuple[str, Any], ...]


def read(source: str | Path, subset: str | None = None, split: str | None = None) -> Rows:
    """Read all rows.

    Args:
        source: A file, or a data set of the hub: "hf:user/name". "user/name" is one, too, if there is no such file.
        subset, split: Of a data set; None for its only or usual one.

    Raises:
        SoftLlamaError: It cannot be read. The message names the line.
    """
    text = str(source)
    if text.startswith(HUB) or (re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not Path(text).exists() and "." not in text):
        return _of_hub(text.removeprefix(HUB), subset, split)
    if subset or split:
        raise SoftLlamaError(f"{text!r} is a file, which has no --subset and no --split", "hf:user/name is a data set")
    p = Path(source).expanduser()
    try:
        data = p.read_bytes()
        content = data.decode("utf-8-sig")
    except OSError as e:
        raise SoftLlamaError(f"cannot read {text!r}: {e.strerror}", FORM) from None
    except UnicodeDecodeError as e:
        raise SoftLlamaError(f"{text!r} is not UTF-8 text: byte {e.start}", "convert it to UTF-8") from None
    table = p.suffix.lower() in (".csv", ".tsv")
    rows = _of_table(content, p) if table else _of_lines(content, p)
    return Rows(p.name, hashlib.sha256(data).hexdigest(), tuple(rows))


def _of_lines(content: str, p: Path) -> Iterator[tuple[str, Any]]:
    for n, line in enumerate(content.split("\n"), 1):
        if line.strip():
            where = f"{p.name}, line {n}"
            try:
                yield where, from_json(line)
            except ValueError as e:
                raise SoftLlamaError(f"{where}: not JSON ({e})", FORM) from None


def _of_table(content: str, p: Path) -> Iterator[tuple[str, Any]]:
    """Rows of CSV, or of tab-separated values. A cell such as ["a", "b"] is a list."""
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter="\t" if p.suffix.lower() == ".tsv" else ",")
    try:
        for row in reader:
            where = f"{p.name}, line {reader.line_num}"
            if None in row:
                raise SoftLlamaError(f"{where}: more cells than the first line has names", "quote what holds a comma")
            yield where, {k: _cell(v) for k, v in row.items() if v is not None}
    except csv.Error as e:
        raise SoftLlamaError(
            f"{p.name}, line {reader.line_num}: {e}", "the first line has the names of the columns"
        ) from None


def _cell(text: str) -> Any:
    if text.lstrip().startswith(("[", "{")):
        try:
            return from_json(text)
        except ValueError:
            return text
    return text


def _of_hub(name: str, subset: str | None, split: str | None) -> Rows:
    try:
        import datasets
    except ImportError:
        raise SoftLlamaError(
            f"the data set {name} needs the package datasets",
            'pip install "softllama[datasets]", or a file of JSON lines',
        ) from None
    try:
        loaded = datasets.load_dataset(name, subset)
    except Exception as e:  # of the network, of the hub, of pyarrow: each has its own
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise SoftLlamaError(f"cannot load the data set {name}: {reason}", "--subset NAME, if it has several") from None
    wanted = split or next((s for s in SPLITS if s in loaded), next(iter(loaded)) if len(loaded) == 1 else "")
    if wanted not in loaded:
        raise SoftLlamaError(f"{name} has no split {wanted!r}", f"--split {' or '.join(map(str, loaded))}")
    rows = [dict(r) for r in loaded[wanted]]
    digest = hashlib.sha256("\n".join(json.dumps(r, sort_keys=True, default=str) for r in rows).encode()).hexdigest()
    full = "/".join(x for x in (name, subset, wanted) if x)
    return Rows(full, digest, tuple((f"{full}, row {i + 1}", r) for i, r in enumerate(rows)))
