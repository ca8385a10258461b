"""Evaluation: problems with known answers, several ways of decoding, one model. `softllama eval` is its command.

    from softllama import evaluate
    problems = evaluate.load("problems.jsonl")
    header, results = evaluate.evaluate(model, problems, evaluate.parse_all(["greedy", "soft_thinking:n=10"]))
    print(evaluate.summarize(header, results).table())

data      problems from JSON lines
ways      ways of answering: policies, and the searches that spend more than one pass
options   how problems are asked
results   the file of results, which survives being killed
run       problems x ways -> results
summary   results -> a Report

Knows how answers are compared. Does not know where a model comes from, or the terminal.
"""

from softllama.evaluate.data import Dataset, Problem, load
from softllama.evaluate.options import EvaluateOptions
from softllama.evaluate.results import Result, read
from softllama.evaluate.run import evaluate
from softllama.evaluate.summary import summarize
from softllama.evaluate.ways import Way, parse, parse_all

__all__ = [
    "Dataset",
    "EvaluateOptions",
    "Problem",
    "Result",
    "Way",
    "evaluate",
    "load",
    "parse",
    "parse_all",
    "read",
    "summarize",
]
