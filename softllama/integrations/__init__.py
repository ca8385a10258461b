"""softllama as a model of other tools: lm-evaluation-harness and inspect_ai, each by its entry point and in a module of its own.

Knows nothing itself. The tools are imported where they import these modules, and nowhere else.
"""
