"""The interactive chat: lines in, text out.

screen      where text goes: answers to stdout, all else to stderr
wrap        text that comes in pieces, broken between words
live        an answer while it is being made; `softllama run` prints with it, too
format      one line of a step, of an answer's numbers, of a message
tables      answers side by side, distributions, commands
state       one chat: its conversation, its screen, its autosave
commands/   /help, /mix, /compare and the others
repl        lines in, commands or messages out
"""
