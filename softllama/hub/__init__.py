"""Models on this machine and on the Hugging Face hub: names, files, facts, pulls. Knows headers; loads no model.

resolver.py   from a name to a file                    caches.py     where other programs keep models
facts.py      what a header says, kept between runs    bundled.py    the models that come with softllama
download.py   a pull: which files, checksums           client.py     huggingface_hub, the only way to the network
quants.py     quantizations in file names              view.py       how lists and downloads look
addresses.py  names and addresses of repositories      packages.py   models inside installed Python packages

Nothing here opens a connection unless a repository is named that is not on this machine.
"""

from softllama.hub.resolver import resolve

__all__ = ["resolve"]
