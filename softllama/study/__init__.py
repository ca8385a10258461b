"""The studies: each asks one question of a model, with controls and intervals, and answers it in a Report.

measures   numbers about distributions, tested on cases with known results
inputs     the words, frames and prompts that the studies use
mixing     what does a model make of a mixture of two words?          (layers: in which layer?)
feedback   what does feeding back the whole vector say that a token does not?
thinking   does it help to think in mixtures?
"""
