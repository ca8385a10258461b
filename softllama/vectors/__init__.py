"""Probability vectors: mixtures that go in, distributions that come out, and the C kernels that compute them.

Knows arrays. Does not know models: everything here can be tested with arrays alone.

    mixture       Mixture, blend                  mix_text      mixtures as people write them
    distribution  Distribution                    average       of several distributions
    sweep         distributions along a line
    measures      numbers about distributions     statistics    intervals and paired tests
    native        the C module                    kernels       mixed rows of a table
    passes        passes over logits              divergence    Kullback-Leibler and Jensen-Shannon
"""
