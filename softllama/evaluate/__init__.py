"""Evaluation: problems with known answers, several ways of decoding, one model. `softllama eval` is its command.

data      problems from JSON lines
arms      ways of answering: policies, and the searches that spend more than one pass
results   the file of results, which survives being killed
run       problems x arms -> results
summary   results -> a Report
"""

from softllama.evaluate.data import Dataset, Problem, load
from softllama.evaluate.run import Settings, evaluate
from softllama.evaluate.summary import summarize
from softllama.evaluate.ways import Arm, parse

__all__ = ["Arm", "Dataset", "Problem", "Settings", "evaluate", "load", "parse", "summarize"]
