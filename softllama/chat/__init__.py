"""A conversation: messages, settings, answers, and the cache of what was already evaluated.

Knows no terminal.
"""
