"""Models at hand: what a user's word for a model means, what lies on this machine, and how one is fetched.

places.py   where other programs keep models           names.py   from a word to a file
facts.py    what a header tells, without loading       fetch.py   the only module that goes to the network
quants.py   quantizations in file names

Nothing here opens a connection unless a repository is named that is not on this machine.
"""

from softllama.hub.resolver import resolve

__all__ = ["resolve"]
