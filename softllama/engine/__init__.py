"""A model without words: its weights, embedding table, calibration and contexts; sessions and batched branches.

Knows token ids, mixtures and vectors. Does not know prompts, policies or how results look.
"""
