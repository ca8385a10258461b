"""Is a one-hot mixture the token, in every architecture and every type of embedding table? Measured, as two tables.

    python scripts/dev/architectures.py                         print both tables in Markdown
    python scripts/dev/architectures.py mamba2 rwkv7 Q4_K       of these only
    python scripts/dev/architectures.py --write docs/architectures.md   put them between its comments <!-- architectures -->,
                                                            <!-- /architectures -->, <!-- types -->, <!-- /types -->
    python scripts/dev/architectures.py --json                  a line for each, with all that was measured

Tiny models with random weights are written (tests/support/tiny_more.py) and tried by a child process, which is started again if
llama.cpp ends it. Where rows are written over llama.cpp's nodes, the tokens that stand in for them are wrong on purpose,
unless they decide something themselves. Each is fed 24 tokens: a batch of 8, then 8 batches of 1, then a batch of 8; by
id, and with mixtures of one token at the start, in the middle, at the end, everywhere and by turns. The difference is the
largest of any logit after any of the ten batches. Needs a checkout, and the package gguf.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `tests` is a package there

import softllama as sl
from softllama.engine import branches
from softllama.engine.lens import Lens
from softllama.llama import bindings
from softllama.llama.batch import Rows
from tests.support import tiny, tiny_more

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]
ARCHITECTURES = sorted([*tiny_more.RECIPES, *tiny_more.REFUSED])
TYPES = [*tiny.TABLE_TYPES, *tiny.NO_TABLES]
VARIANTS = {
    "deepstack": "deepstack", "experts": "experts", "full": "no sliding window", "hashed": "experts by token id",
    "lite": "no query latent", "nextn": "a draft layer", "per-layer": "per-layer embeddings",
    "sections": "rope sections", "serial": "serial residual", "tied": "tied table", "vision": "router for images",
}  # fmt: skip
BATCHES = (8, *[1] * 8, 8)
PLACES: dict[str, Callable[[int], bool]] = {  # which of 24 positions are mixtures
    "start": lambda i: i == 0,
    "middle": lambda i: i in (5, 12),
    "end": lambda i: i == 23,
    "everywhere": lambda i: True,
    "by turns": lambda i: i % 2 == 1,
}


# ---- one model, in the child -----------------------------------------------------------------------------------------


def feed(
    model: sl.Model,
    ids: Sequence[int],
    mixed: Callable[[int], bool],
    make: Callable[[int], sl.Mixture | sl.Vector] = sl.Mixture.one_hot,
) -> NDArray[np.float32]:
    """Logits after each of BATCHES: (10, n_vocab). make: what stands for an id where `mixed` says so."""
    out, at = [], 0
    with model.session(n_ctx=64) as s:
        for n in BATCHES:
            items = [make(ids[i]) if mixed(i) else ids[i] for i in range(at, at + n)]
            out.append(s.feed(items).logits)
            at += n
    return np.stack(out)


def mislead(model: sl.Model) -> None:
    """Other tokens for carriers from here on: with the right ones, rows that go nowhere would agree as well."""
    if model.calibration.carrier != "any":
        return
    right = model.rows

    def rows(items: Sequence[Any]) -> Rows:
        result = right(items)
        assert result.carriers is not None
        return result._replace(carriers=(result.carriers + 1) % model.n_vocab)

    model.rows = rows  # type: ignore[method-assign]


def apart(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The largest absolute difference; what is -inf in both does not count, NaN anywhere does."""
    same = (a == b) & ~np.isnan(a)
    return float(np.where(same, 0, np.abs(np.subtract(a, b, where=~same, out=np.zeros_like(a)))).max())


def measure(model: sl.Model) -> Row:
    """Numbers of a model that takes mixtures."""
    rng = np.random.default_rng(1)
    if model.diffusion:
        return _whole(model, [int(i) for i in rng.integers(0, 300, 8)])
    ids = [int(i) for i in rng.integers(0, min(model.n_vocab, 300), 24)]
    truth = feed(model, ids, lambda i: False)
    row: Row = {"finite": bool(np.isfinite(truth).all()), "largest": float(np.abs(truth).max())}
    row["difference"] = max(apart(feed(model, ids, mixed), truth) for mixed in PLACES.values())
    row |= _vectors(model, ids, truth)
    return row | _sequences(model, ids) | _branches(model, ids) | _insides(model, ids)


def _vectors(model: sl.Model, ids: Sequence[int], truth: NDArray[np.float32]) -> Row:
    """Vectors equal to rows of the table, in both scales, against the tokens; or the sentence that refuses them."""
    factor = np.float32(model.calibration.multiplier)
    makes: list[Callable[[int], sl.Vector]] = [
        lambda i: sl.Vector(model.embed(i), scale="table"),
        lambda i: sl.Vector(factor * model.embed(i), scale="model"),
    ]
    ways = [(PLACES["everywhere"], makes[0]), (PLACES["by turns"], makes[0]), (PLACES["by turns"], makes[1])]
    try:
        return {"vectors": max(apart(feed(model, ids, mixed, make), truth) for mixed, make in ways)}
    except sl.MixtureError as e:
        return {"no vectors": e.message.rpartition(": ")[2]}


def _whole(model: sl.Model, ids: Sequence[int]) -> Row:
    """A diffusion model reads whole sequences only: one of 8 and eight of 1, and the probe's way through it."""
    row: Row = {
        "difference": 0.0,
        "vectors": 0.0,
        "again": 0.0,
        "side": 0.0,
        "finite": True,
        "no sequences": "probes only",
    }
    with closing(model.new_context(64, causal=False, n_batch=8, n_outputs=8)) as c:
        for part in (ids, *([i] for i in ids)):
            n = len(part)
            truth = c.decode([0] * n, range(n), [True] * n, tokens=part)
            row["difference"] = max(
                row["difference"], apart(c.decode([0] * n, range(n), [True] * n, rows=model.rows(part)), truth)
            )
            row["finite"] &= bool(np.isfinite(truth).all())
            vectors = model.rows([sl.Vector(model.embed(i), scale="table") for i in part])
            row["vectors"] = max(row["vectors"], apart(c.decode([0] * n, range(n), [True] * n, rows=vectors), truth))
    half = sl.Mixture([40, 41], [0.5, 0.5])
    ends = [b.next.logits for b in branches.run(model, ids[:3], [[m, 9] for m in (40, 41, half)])]
    row["moves"] = min(apart(a, b) for i, a in enumerate(ends) for b in ends[:i])
    return row


def _sequences(model: sl.Model, ids: Sequence[int]) -> Row:
    """Does the input matter, and do forks and cuts give what reading again gives?"""
    half, other = sl.Mixture([40, 41], [0.5, 0.5]), sl.Mixture([40, 41], [0.2, 0.8])

    def after(*chunks: Sequence[int | sl.Mixture]) -> NDArray[np.float32]:
        with model.session(n_ctx=64) as s:
            for c in chunks:
                d = s.feed(list(c))
        return d.logits

    ends = [after([7, m, 9]) for m in (40, 41, half, other)]
    row: Row = {"moves": min(apart(a, b) for i, a in enumerate(ends) for b in ends[:i])}
    first, second = [ids[0], half, ids[1]], [other, ids[2]]
    straight, branched = after(first, second), after(first, [ids[3]])
    with model.session(n_ctx=64) as s:
        s.feed(first)
        with s.fork() as t:
            row["again"] = max(apart(t.feed(second).logits, straight), apart(s.feed([ids[3]]).logits, branched))
        s.feed([ids[5], half, ids[6]])
        s.truncate(3)
        row["again"] = max(row["again"], apart(s.feed(second).logits, straight))
        s.truncate(0)
        s.feed(first)
        row["again"] = max(row["again"], apart(s.feed(second).logits, straight))
    with closing(model.new_context(64)) as one, closing(model.new_context(64)) as two:
        one.decode([0] * 3, range(3), [False, False, True], rows=model.rows(first))
        two.restore(0, one.state(0))
        ends = [c.decode([0], [3], [True], tokens=[ids[3]])[0] for c in (one, two)]
        row["again"] = max(row["again"], apart(ends[0], branched), apart(ends[1], branched))
    long = [*ids[:6], half, *ids[6:12]]
    row["chunks"] = apart(after(long[:5], long[5:]), after(long)) / max(1e-9, float(np.abs(after(long)).max()))
    return row


def _branches(model: sl.Model, ids: Sequence[int]) -> Row:
    """Sequences side by side: mixtures of one token against ids (to the bit), and company against being alone."""
    half = sl.Mixture([40, 41], [0.5, 0.5])
    tails = [[half, 5, 9], [3, 5, 9], [77, 5, 9]]
    together = [b.next.logits for b in branches.run(model, ids[:4], tails)]
    rows = [tails[0], *([sl.Mixture.one_hot(i) for i in t] for t in tails[1:])]
    by_row = [b.next.logits for b in branches.run(model, ids[:4], rows)]
    with model.session(n_ctx=64) as s:
        s.feed(ids[:4])
        alone = s.feed(tails[0]).logits
    scale = max(1e-9, float(np.abs(alone).max()))
    return {"side": max(map(apart, by_row, together)), "company": apart(alone, together[0]) / scale}


def _insides(model: sl.Model, ids: Sequence[int]) -> Row:
    """The last hidden state and the readout of all layers: what they give, or the sentence that refuses them."""
    row: Row = {}
    try:
        with closing(model.new_context(64, 4)) as context:
            plain = context.decode([0] * 4, range(4), [True] * 4, tokens=ids[:4])
        context = model.new_context(64, embeddings=True)
        by_id = context.decode([0] * 4, range(4), [True] * 4, tokens=ids[:4]), context.hidden(-1)
        row["beside hidden"] = apart(by_id[0], plain)
        context.cut(0, 0)
        by_row = context.decode([0] * 4, range(4), [True] * 4, rows=model.rows(ids[:4])), context.hidden(-1)
        row["hidden"] = max(apart(a, b) for a, b in zip(by_id, by_row, strict=True))
        row["hidden size"] = float(np.abs(by_id[1]).max())
        context.close()
    except sl.SoftLlamaError as e:
        row["no hidden states"] = _why(e)
    try:
        with Lens(model, 32) as r:
            states, logits = r.states([ids[0], sl.Mixture([40, 41], [0.5, 0.5]), ids[1]], at=(1, -1))
            read = r.read(states[-1])
            items = [ids[0], sl.Mixture([40, 41], [0.5, 0.5]), ids[1]]
            every, own = r.states(items, range(3))
            own_state = [sl.Patch(0, 1, every[0, 1]), sl.Patch(-1, 2, every[-1, 2])]
            again, same = r.states(items, range(3), patches=own_state)
            row["patch"] = max(apart(again, every), apart(same, own))
        row |= _control(model, items, every, own)
        said = (np.abs(read) < 1e30) & (np.abs(logits) < 1e30)  # chameleon rules tokens out in a batch's first row only
        row["layers"] = apart(np.where(said, read, 0), np.where(said, logits, 0))
    except sl.SoftLlamaError as e:
        row["no layers"] = _why(e)
    return row


def _control(model: sl.Model, items: list[Any], states: NDArray[np.float32], logits: NDArray[np.float32]) -> Row:
    """A control vector after layer 0 and after the last, against the sums of states put in place; and who added it."""
    v = np.random.default_rng(3).standard_normal(model.n_embd).astype(np.float32)
    row: Row = {"control": 0.0, "control by": ""}
    for layer in (0, len(states) - 1):
        steered = model.with_control(sl.ControlVector(layer, v))
        row["control by"] += " callback" if steered.controls.by_callback else " llama.cpp"
        with Lens(model, 8) as plain, Lens(steered, 8) as r:
            got, own = r.states(items, range(3))
            sums = [sl.Patch(layer, p, states[layer, p] + v) for p in range(3)]
            want, other = plain.states(items, range(3), patches=sums)
        row["control"] = max(row["control"], apart(got, want), apart(own, other))
        row["moved"] = min(row.get("moved", np.inf), apart(own, logits))
    return row


def _why(e: sl.SoftLlamaError) -> str:
    """What a message says after its colon."""
    return e.message.partition(": ")[2] or e.message


def attempt(path: Path) -> Row:
    """What becomes of a model file: measured, or refused with a sentence, or a traceback."""
    try:
        with sl.load(path, n_threads=1) as model:
            c = model.calibration
            row: Row = {
                "multiplier": c.source,
                "how": getattr(c, "how", "embedding batch"),
                "recurrent": model.recurrent,
            }
            mislead(model)
            row |= {"carrier": getattr(c, "carrier", ""), "mrope": model._weights.positions_per_row == 4}
            return row | measure(model)
    except sl.SoftLlamaError as e:
        return {"refused": e.message.replace(str(path), path.name).replace(str(path.parent), ""), "hint": e.hint}
    except Exception as e:
        return {"traceback": f"{type(e).__name__}: {e}"}


def child(folder: Path, names: Sequence[str]) -> None:
    """A line when a name is begun and one when it is done, so that a crash shows whose it was."""
    for name in names:
        print(json.dumps({"begin": name}), flush=True)
        try:
            path = write(folder, name)
        except ValueError as e:
            row: Row = {"unwritten": str(e)}
        else:
            row = attempt(path)
            path.unlink()
        print(json.dumps({"name": name, **row}), flush=True)


def write(folder: Path, name: str) -> Path:
    """The model that a name stands for: an architecture's, a header of one, or a llama with that type of table."""
    if name in tiny_more.RECIPES:
        return tiny_more.write(folder, name)
    path = folder / f"{name}.gguf"
    if name == "clip":
        return tiny.write_mmproj(path)
    if name in tiny_more.REFUSED:
        return tiny.write_model(path, name)
    return tiny.write_model(path, "llama", table_type=name)


# ---- all of them -----------------------------------------------------------------------------------------------------


def run(names: Sequence[str]) -> Iterator[Row]:
    """A row for each name, in order; a crash of the child is a row, too."""
    rest = list(names)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"SOFTLLAMA_CACHE": folder, "GGML_NO_BACKTRACE": "1", "OMP_NUM_THREADS": "1"}
        settings["SOFTLLAMA_TRIAL"] = "off"  # the child here is the trial
        while rest:
            call = [sys.executable, __file__, "--child", folder, *rest]
            with subprocess.Popen(
                call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **settings}
            ) as p:
                assert p.stdout is not None
                begun = rest[0]
                for line in p.stdout:
                    row = json.loads(line)
                    begun = row.get("begin", begun)
                    if "name" in row:
                        rest.remove(row["name"])
                        yield row
            if p.returncode and rest:
                rest.remove(begun)
                yield {"name": begun, "crash": p.returncode}


# ---- tables ----------------------------------------------------------------------------------------------------------


def label(name: str) -> str:
    """A recipe's name, as written in the table."""
    arch, _, variant = name.partition("+")
    return f"{arch} ({VARIANTS[variant]})" if variant else arch


def cells(row: Row) -> list[str]:
    """How, multiplier, maximum difference, notes."""
    if "refused" in row:
        return ["refused", "", "", row["refused"].partition("cannot take mixtures: ")[2] or row["refused"]]
    if "difference" not in row:
        return ["**fails**", "", "", row.get("traceback") or row.get("unwritten") or f"llama.cpp ended: {row['crash']}"]
    notes = [text for key, text in (("recurrent", "recurrent or hybrid"), ("mrope", "M-RoPE")) if row[key]]
    if row["carrier"] not in ("", "any"):
        notes.append(f"the heaviest token decides {row['carrier']}")
    notes += [row["no sequences"]] if "no sequences" in row else []
    notes += [f"no {key}: {why}" for key in ("hidden states", "layers") if (why := row.get(f"no {key}"))]
    return [row["how"], row["multiplier"], f"{row['difference']:.2g}", "; ".join(notes)]


def table(rows: Sequence[Row], head: str) -> str:
    """In Markdown."""
    lines = [f"| {head} | how | multiplier | maximum difference | notes |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join([label(r['name']), *cells(r)])} |" for r in rows])


def summary(rows: Sequence[Row]) -> str:
    """What the tables show, in sentences."""
    fed = [r for r in rows if "difference" in r]
    archs = len({tiny_more.arch_of(r["name"]) for r in fed})
    most = {k: max(r[k] for r in fed) for k in ("difference", "again", "side")}
    return (
        f"Measured with llama-cpp-python {bindings.VERSION} on the CPU: {len(fed)} models of {archs} architectures take "
        f"mixtures; the largest difference of any logit between a token and a mixture of it alone is "
        f"{most['difference']:.2g}, between going back or forking and reading again {most['again']:.2g}, between "
        f"ids and mixtures in sequences side by side {most['side']:.2g}."
    )


def blocks(rows: Sequence[Row]) -> dict[str, str]:
    """The text between each pair of comments in a document, of rows for ARCHITECTURES and TYPES."""
    by_name = {r["name"]: r for r in rows}
    archs = [by_name[n] for n in ARCHITECTURES if n in by_name]
    types = [by_name[n] for n in TYPES if n in by_name]
    found = {}
    if archs:
        found["architectures"] = f"{summary(archs)}\n\n{table(archs, 'architecture')}"
    if types:
        found["types"] = table(types, "table type")
    return found


def written(document: str, texts: dict[str, str]) -> str:
    """The document with the blocks put in. Raises ValueError where one has no place."""
    for name, text in texts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = document.partition(start)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise ValueError(f"the document has no {start} ... {end}")
        document = f"{before}{start}\n{text}\n{end}{after}"
    return document


def main() -> None:
    """Measure, then print or write."""
    if sys.argv[1:2] == ["--child"]:
        return child(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="architectures and table types; all of them if left out")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this file")
    a = parser.parse_args()
    if unknown := set(a.names) - {*ARCHITECTURES, *TYPES}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if a.names and a.write:
        parser.error("--write takes all of them")
    rows = []
    for row in run(a.names or [*ARCHITECTURES, *TYPES]):
        rows.append(row)
        if a.json:
            print(json.dumps(row), flush=True)
        elif sys.stderr.isatty():
            print(f"\r{len(rows)} {row['name']:30}", end="", file=sys.stderr, flush=True)
    if a.write:
        a.write.write_text(written(a.write.read_text("utf-8"), blocks(rows)), "utf-8")
    elif not a.json:
        print("\n\n".join(blocks(rows).values()))
    return None


if __name__ == "__main__":
    main()
