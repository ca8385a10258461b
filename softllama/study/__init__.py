"""The studies: each asks one question of a model, with controls and intervals, and answers it in a Report.

    from softllama.study import mixing
    report = mixing.run(model, seed=0)
    print(report.table())

mixing       what does a model make of a mixture of two words?          (layers: in which layer?)
feedback     what does feeding back the whole vector say that a token does not?    (rollout: how long does it stay readable?)
adapter      with an adapter, does a mixture say what its words say on average?    (words, walk, price; cases: what is asked)
answers      does it help to think in mixtures?                         (the bundled pairs of models)
thinking     the same on any other model, with small questions
everything   all of them, on the bundled models or on one
floor        the model's noise floor in their reports
sizes        how much of each there is, in full and for a quick look
inputs       the words, frames and prompts that the studies use

NAME_tables makes the tables, figures and sentences of the study NAME.

Knows models, statistics and reports. Does not know the terminal, or how a report looks.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softllama.study import adapter, answers, everything, feedback, inputs, layers, mixing, rollout, sizes, thinking

__all__ = ["adapter", "answers", "everything", "feedback", "inputs", "layers", "mixing", "rollout", "sizes", "thinking"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'softllama.study' has no attribute {name!r}")
    return import_module(f"softllama.study.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
