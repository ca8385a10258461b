"""Text to what a model is fed: slots for mixtures, words to token ids, thinking tags, the chat template.

Knows a tokenizer and a template. Does not know contexts or policies.
"""
