"""softllama models: the list, one model, a pull. Knows options; what they do is in hub/."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from softllama.cli import note
from softllama.cli.help import Group
from softllama.cli.options import complete_model, shared_option


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """The models on this machine; show one, or fetch one.

    \b
    softllama models
    softllama models show bundled:words
    softllama models pull user/repo:Q4_K_M
    softllama run -m user/repo:Q4_K_M "Hello"

    They are read where they lie: installed Python packages, Hugging Face's cache, Ollama, LM Studio, llama.cpp's cache,
    the folder for downloads (or those of SOFTLLAMA_MODELS), and what comes with softllama. Only headers are read.
    "mixtures" says whether a model can take them; "thinks" whether its chat template or vocabulary has the tags of a
    thinking block.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("list", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """The same as `softllama models`, for those who know it from other tools.

    \b
    softllama models list
    """
    _list(as_json)


command.add_command(list_models, "ls")


def _list(as_json: bool) -> None:
    from softllama.hub import facts

    models = facts.listing()
    if as_json:
        click.echo(json.dumps([f.to_dict() for f in models], ensure_ascii=False, indent=2))
        return
    from softllama.hub import view
    from softllama.show import console

    console.console().print(view.models(models))


@command.command()
@click.argument("name", shell_complete=complete_model)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the SHA-256 of all files.")
def show(name: str, as_json: bool) -> None:
    """What a model's header says, without loading it.

    \b
    softllama models show bundled:words
    softllama models show user/repo:Q4_K_M --json
    """
    from softllama import hub
    from softllama.base import cache
    from softllama.hub import caches, facts
    from softllama.hub.local_model import LocalModel

    file = Path(hub.resolve(name, offline="`softllama models show` fetches nothing"))
    known = {f.path: f for f in caches.all_models()}
    model = known.get(file) or LocalModel(file.stem, file, "file")
    f = facts.describe(model, strict=True)
    record = {**f.to_dict(), "sha256": cache.file_hash([Path(p) for p in f.files])} if as_json else {}
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False, indent=2))
        return
    from softllama.hub import view
    from softllama.show import console

    console.console().print(view.model_facts(f), soft_wrap=True)


def _complete_repo(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from softllama.hub import caches

    names = {f.name.partition(":")[0] for f in caches.hugging_face()}
    return [CompletionItem(n) for n in sorted(names) if n.startswith(incomplete)]


@command.command()
@click.argument("repo", shell_complete=_complete_repo)
@shared_option("--offline", is_flag=True, help="Do not go to the network: say only what is here.")
@shared_option("-q", "--quiet", is_flag=True, help="Only the file's path.")
def pull(repo: str, offline: bool, quiet: bool) -> None:
    """Fetch a model from the Hugging Face hub into its cache, and print its path.

    \b
    softllama models pull user/repo
    softllama models pull user/repo:Q8_0
    softllama models pull https://huggingface.co/user/repo

    Without a quantization it is Q4_K_M, or else the nearest. A pull that was cut goes on where it stopped; the SHA-256
    is checked; all files of a split model are fetched, projectors (mmproj) are not. The token for gated repositories is
    HF_TOKEN, or what `hf auth login` has stored. HF_ENDPOINT names another hub.
    """
    from softllama.cli import progress
    from softllama.errors import ModelError
    from softllama.hub import resolver

    name, quant = resolver.split_repo(repo)
    if why := resolver.offline_because(offline):
        model = resolver.choose_cached(resolver.in_cache(name), quant)
        if model is None:
            raise ModelError(f"{repo} is not on this machine, and {why}", resolver.LIST)
        if not quiet:
            note(f"{model.name} is on this machine; whether it is the newest is unknown, as {why}")
        click.echo(model.path)
        return
    from softllama.hub import download

    with progress.bar(quiet) as bar:
        path = download.pull(name, quant, progress=bar, say=(lambda _: None) if quiet else note)
    click.echo(path)


@command.command()
@click.argument("name", shell_complete=complete_model)
@click.option(
    "-o", "--out", metavar="FILE", help="The copy. Default: the model's name with F32, in the current folder."
)
@shared_option("-q", "--quiet", is_flag=True, help="Only the file's path.")
def dequantize(name: str, out: str | None, quiet: bool) -> None:
    """A copy of a model with all weights in F32, on which llama.cpp rounds no activations.

    \b
    softllama models dequantize bundled:words -o words-F32.gguf
    softllama probe -m words-F32.gguf --mix dog,cat --prompt "The {} says" --sweep 21

    The weights are the same numbers, so it is the same model without the noise of 8-bit arithmetic; four bytes a weight,
    and slower. `softllama doctor -m FILE` shows the noise of either.
    """
    from softllama import hub
    from softllama.base.text import size
    from softllama.cli import progress
    from softllama.hub import facts
    from softllama.llama import dequantize, header

    path = Path(hub.resolve(name, offline="`softllama models dequantize` fetches nothing"))
    h = header.read(path)
    to = Path(out).expanduser() if out is not None else dequantize.target(path, facts.quantization(h))
    dequantize.check(h, to)
    if not quiet:
        have = size(sum(t.size for t in h.tensors.values()))
        note(f"{path.name} has {have} of weights; in F32 they take {size(dequantize.expected_bytes(h))}")
    with progress.bar(quiet) as bar:
        dequantize.write(path, to, bar)
    click.echo(to)
