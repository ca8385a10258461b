"""python -m softllama"""

from softllama.cli import main

main()
