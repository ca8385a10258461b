"""The pages of the Python API for the site: which names are on which page. Sphinx's autodoc writes what their docstrings say."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence

PAGES: dict[str, tuple[str, str, Sequence[str]]] = {  # file -> title, what it is about, names
    "model": ("Models and sessions", "A model, and one sequence that it reads.", (
        "softllama.load", "softllama.Model", "softllama.Session")),
    "vectors": ("Mixtures and distributions", "What goes into a model and what comes out. No model is needed.", (
        "softllama.Mixture", "softllama.Vector", "softllama.Distribution", "softllama.average", "softllama.blend")),
    "interventions": ("Interventions", "What is changed inside a model.", (
        "softllama.ControlVector", "softllama.Patch")),
    "results": ("Results", "What a probe and a lens return.", (
        "softllama.ProbeResult", "softllama.LensResult")),
    "generation": ("Generations", "Writing, and the record of it.", (
        "softllama.generate", "softllama.stream", "softllama.generation.options.GenerationOptions", "softllama.Step",
        "softllama.Trace", "softllama.trace.load", "softllama.generation.replay.replay", "softllama.Interrupted")),
    "policy": ("sl.policy", "From a distribution to a decision. [Policies](../policies.md) has the formulas.", (
        "softllama.policy.*",)),
    "search": ("sl.search", "Searches over several passes.", ("softllama.generation.search.*",)),
    "extract": ("sl.extract", "Answers in texts. [Answer rules](../answer-rules.md) states them.", (
        "softllama.generation.extract.*",)),
    "evaluate": ("sl.evaluate", "Problems with known answers.", ("softllama.evaluate.*",)),
    "study": ("sl.study", "Studies, which return a report.", (
        "softllama.study.mixing.run", "softllama.study.feedback.run", "softllama.study.answers.run",
        "softllama.study.thinking.run", "softllama.report.report.Report")),
    "chat": ("Conversations", "Turns, and their prefix cache.", (
        "softllama.Conversation", "softllama.chat.messages.Mix")),
    "others": ("sl.hub, sl.doctor, sl.serve", "From names to files, the state of an installation, a server.", (
        "softllama.hub.resolve", "softllama.diagnostics.doctor.examine", "softllama.serve.app")),
    "errors": ("Errors", "All that a user can cause.", (
        "softllama.SoftLlamaError", "softllama.MixtureError", "softllama.PromptError", "softllama.UsageError",
        "softllama.ModelError", "softllama.ContextError", "softllama.NotFiniteError")),
}  # fmt: skip


def pages() -> dict[str, str]:
    """Name -> Markdown, of each page. They stand below the page python.md."""
    return {f"python/{name}.md": page(*of) for name, of in PAGES.items()}


def listed() -> str:
    """The list of the pages, for the end of the page python.md."""
    rows = [
        f"- [{title}](python/{name}.md): {about[0].lower()}{about[1:]}" for name, (title, about, _) in PAGES.items()
    ]
    links = "\n".join(rows).replace("](../", "](")
    return f"\n## Every class and function\n\n{links}\n"


def page(title: str, about: str, names: Sequence[str]) -> str:
    """One page."""
    full = [n for name in names for n in expanded(name)]
    directives = "\n\n".join(f"```{{eval-rst}}\n{directive(n)}\n```" for n in full)
    return f"# {title}\n\n{about}\n\n{directives}\n"


def expanded(name: str) -> list[str]:
    """The functions and classes that a module's `__all__` has, where the name ends in `.*`."""
    if not name.endswith(".*"):
        return [name]
    module = importlib.import_module(name[:-2])
    public = [n for n in module.__all__ if inspect.isroutine(v := getattr(module, n)) or inspect.isclass(v)]
    return [f"{name[:-2]}.{n}" for n in public]


def directive(name: str) -> str:
    """What tells autodoc about a name."""
    home, _, short = name.rpartition(".")
    value = getattr(importlib.import_module(home), short)
    if not inspect.isclass(value):
        return f".. autofunction:: {name}"
    options = [":members:"]
    if short == "Model":
        options.append(":inherited-members:")
    if issubclass(value, BaseException):
        options.append(":show-inheritance:")
    return "\n".join([f".. autoclass:: {name}", *(f"   {o}" for o in options)])
