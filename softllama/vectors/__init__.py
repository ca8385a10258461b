"""Probability vectors: mixtures that go in, distributions that come out, and the C kernels that compute them.

Knows no model: everything here can be tested with arrays alone.
"""
