"""The generation loop and what is built on it: streams, traces, replays, beam search, samples.

Knows engines, prompts and policies. Does not know the terminal.
"""
