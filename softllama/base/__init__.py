"""What every other package may use: argument checks, files, the cache, signals, child processes, text for people.

Knows no numpy, no llama.cpp and no model.
"""
