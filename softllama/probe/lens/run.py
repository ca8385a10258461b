"""`lens` and `states`: the states of a prompt after every layer, and what the model's own norm and head make of them.

Puts a prompt, mixtures and a model together. What the results are is data.py's, how they look view.py's, plot.py's and page.py's.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments, tables
from softllama.base.files import save_as
from softllama.engine import manifest
from softllama.engine.engine import Engine, checked
from softllama.engine.lens import Lens
from softllama.errors import UsageError
from softllama.probe.inputs import mix_texts
from softllama.probe.lens import inputs
from softllama.probe.lens.data import COLUMNS, LensData, LensRun
from softllama.probe.lens.inputs import HowRead, Input, Inputs, Prompt
from softllama.prompts.words import MixArgument, Split
from softllama.show.progress import Tick
from softllama.vectors import measures
from softllama.vectors.distribution import Distribution
from softllama.vectors.interventions import Patch

LAST = 16  # positions that are looked at, unless others are asked for
F32 = NDArray[np.float32]
FORMS = (".json", ".csv", ".npz", ".html", ".png", ".svg", ".pdf")


class LensResult(LensData):
    """What every layer would say: see `LensData` for the fields. In a notebook it shows itself."""

    def table(self, width: int = 100) -> str:
        """The results as text of that many columns."""
        from softllama.probe.lens import view
        from softllama.show import console

        return console.to_text(view.table(self, width), width)

    def show(self) -> None:
        """Print the results as the command line does."""
        from softllama.probe.lens import view
        from softllama.show import console

        out = console.console()
        out.print(view.table(self, out.width))

    def csv(self) -> str:
        """The results as CSV: a line for each token of each readout."""
        rows = ([f"{c:.9g}" if isinstance(c, float) else c for c in row] for row in self.token_rows())
        return tables.to_csv(COLUMNS, rows)

    def json(self) -> str:
        """The results as JSON text: `to_dict`."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    def npz(self) -> bytes:
        """The results with the states, as the bytes of a file that numpy.load reads: see `arrays`."""
        out = io.BytesIO()
        np.savez_compressed(out, **self.arrays())  # type: ignore[arg-type]
        return out.getvalue()

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A matplotlib figure; written to `path` (.png, .svg, .pdf) if that is given. Needs the extra `plot`."""
        from softllama.probe.lens import plot

        return plot.figure(self, path)

    def page(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page that needs nothing else: layers by positions, with each readout's tokens.

        Raises:
            UsageError: the name does not end in .html, or a file of another kind is there.
        """
        from softllama.probe.lens import page

        page.write(self, arguments.path(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the results: .json, .csv, .npz (with the states), .html, or a picture (.png, .svg, .pdf).

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written, or matplotlib is not installed.
        """
        suffix = arguments.path(path).suffix.lower()
        if suffix == ".html":
            self.page(path)
        elif suffix in FORMS[4:]:
            self.plot(path)
        else:
            forms: dict[str, Callable[[], str | bytes]] = dict.fromkeys(FORMS, str)
            forms |= {".json": lambda: self.json() + "\n", ".csv": self.csv, ".npz": self.npz}
            save_as(path, "a lens", forms)

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each token of each readout; the columns are those of the CSV.

        Raises:
            SoftLlamaError: pandas is not installed.
        """
        return tables.dataframe(COLUMNS, self.token_rows())

    def __repr__(self) -> str:
        beside = f", beside {', '.join(r.name for r in self.beside)}" if self.beside else ""
        return f"LensResult({self.prompt!r}, {len(self.layers)} layers, {len(self.positions)} positions{beside})"

    def _repr_html_(self) -> str:
        from softllama.probe.lens import view

        return view.html(self)


def states(
    model: Engine,
    prompt: Prompt,
    mix: MixArgument = (),
    *,
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    patches: Sequence[Patch] = (),
    **how: Unpack[HowRead],
) -> F32:
    """The hidden states of a prompt after layers.

    Args:
        prompt: text, with slots for `mix`; or token ids, mixtures and vectors.
        mix: mixtures for the slots.
        layers: from 0, or from the end (-1); None for all.
        positions: the same; None for all.
        patches: states that take the place of others on the way.
        how: chat, system, normalize, signed and split, as of `lens`.

    Returns:
        (layers, positions, n_embd) float32, before the final norm.

    Raises:
        UsageError: there is no such layer or position.
        ContextError: the layers of this architecture cannot be read.
        PromptError, MixtureError: the prompt or the mixtures are wrong.
    """
    checked(model)
    items = inputs.read(model, prompt, mix, alone=False, **how).runs[0].items
    with Lens(model, len(items)) as lens:
        at = range(len(items)) if positions is None else positions
        return lens.states(items, at, layers=layers, patches=patches)[0]


def lens(
    model: Engine,
    prompt: Prompt | None = None,
    mix: MixArgument = (),
    *,
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    n_top: int = 5,
    chat: bool = False,
    system: str | None = None,
    normalize: bool = False,
    signed: bool = False,
    split: Split | None = None,
    patches: Sequence[Patch] = (),
    tick: Tick | None = None,
) -> LensResult:
    """What every layer would say at each position, through the model's own norm and head (the logit lens).

    Mixtures stand beside each of their words alone (the 4 heaviest), a prompt with patches beside itself without.

    Args:
        prompt: text, with slots for `mix`; or token ids, mixtures and vectors. None: as for a probe.
        mix: mixtures for the slots, as for a probe.
        layers: from 0, or from the end (-1); None for all.
        positions: the same; None for those from the first mixture on, or all, and of these the last 16.
        n_top: how many tokens of each readout are kept, 1 to 100.
        chat, system: put the prompt through the model's chat template, as the user's message.
        normalize, signed, split: how mixtures that are text are read (`Model.mix`).
        patches: states that take the place of the prompt's own on the way (activation patching).
        tick: is called with "lens", how many positions are done, and how many there are.

    Raises:
        UsageError: there is no such layer or position, or an argument is out of range.
        ContextError: the layers of this architecture cannot be read.
        PromptError, MixtureError: the prompt or the mixtures are wrong.
    """
    checked(model)
    arguments.integer("n_top", n_top, 1, 100)
    how: HowRead = {"chat": chat, "system": system, "normalize": normalize, "signed": signed, "split": split}
    read = inputs.read(model, prompt, mix, **how)
    n = len(read.runs[0].items)
    at = list(range(n))[max(read.first_slot or 0, n - LAST) :] if positions is None else list(positions)
    _check_some(at, layers)
    with Lens(model, n) as reader:
        chosen = reader.layers(layers)
        runs = _runs(model, reader, read, at, chosen, patches, n_top, tick)
    settings = {"prompt": read.prompt, "mix": mix_texts(mix), "layers": chosen, "positions": at, "top": n_top, **how}
    settings["patches"] = [(p.layer, p.position) for p in patches]
    return LensResult(
        prompt=read.prompt,
        title=read.title,
        layers=chosen,
        n_layer=reader.n_layer,
        positions=[p % n for p in at],
        n_positions=n,
        runs=runs,
        n_top=n_top,
        texts={int(i): model.spell(int(i)) for i in np.unique(np.concatenate([r.ids.ravel() for r in runs]))},
        make_manifest=lambda: manifest.build(model, settings),
    )


def _check_some(*chosen: Sequence[int] | None) -> None:
    if any(c is not None and not len(c) for c in chosen):
        raise UsageError("there is nothing to look at", "give a layer and a position, or leave them out")


def _runs(
    model: Engine,
    reader: Lens,
    read: Inputs,
    at: Sequence[int],
    layers: Sequence[int],
    patches: Sequence[Patch],
    n_top: int,
    tick: Tick | None,
) -> list[LensRun]:
    """Evaluate all sequences, the first with patches and also without, and read their states."""
    runs = [*read.runs]
    if patches:
        runs.append(replace(runs[0], name="without patches", weight=None))
    found = [reader.states(r.items, at, layers=layers, patches=() if i else patches) for i, r in enumerate(runs)]
    n = len(runs[0].items)
    return _read(reader, runs, found, [p % n for p in at], min(n_top, model.n_vocab), tick)


def _read(
    reader: Lens,
    runs: Sequence[Input],
    found: Sequence[tuple[F32, F32]],
    positions: Sequence[int],
    n_top: int,
    tick: Tick | None,
) -> list[LensRun]:
    """Read the states of all runs, one position after the other. found: states (L, P, n_embd) and own logits (P, n_vocab)."""
    n_layer, n_positions, _ = found[0][0].shape
    shape = (len(runs), n_layer, n_positions)
    ids, probs = np.empty((*shape, n_top), np.int32), np.empty((*shape, n_top), np.float32)
    entropy, kl, cosine, js = (np.full(shape, np.nan) for _ in range(4))
    for j in range(n_positions):
        logits = reader.read(np.concatenate([s[:, j] for s, _ in found])).reshape(len(runs), n_layer, -1)
        firsts: list[Distribution] = []
        for r, (s, own) in enumerate(found):
            last = Distribution(own[j])
            for i in range(n_layer):
                d = Distribution(logits[r, i])
                firsts += [d] * (r == 0)
                top = d.top(n_top)
                ids[r, i, j], probs[r, i, j] = [t.id for t in top], [t.p for t in top]
                entropy[r, i, j], kl[r, i, j], js[r, i, j] = d.entropy(), last.kl(d), d.js(firsts[i])
                cosine[r, i, j] = measures.cosine(s[i, j], found[0][0][i, j])
        if tick is not None:
            tick("lens", j + 1, n_positions)
    return [
        LensRun(
            name=run.name,
            weight=run.weight,
            inputs=[run.texts[p] for p in positions],
            ids=ids[r],
            probs=probs[r],
            entropy=entropy[r],
            kl=kl[r],
            cosine=cosine[r] if r else None,
            js=js[r] if r else None,
            states=found[r][0],
        )
        for r, run in enumerate(runs)
    ]
