"""How bytes are written, and "did you mean"."""

from __future__ import annotations

import pytest

from softllama.base.text import percent, size, unknown


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (146_208, "146 kB"), (2_102_720, "2.1 MB"), (9_960_000, "10 MB"),
        (99_960_000, "100 MB"), (491_400_064, "491 MB"), (999_600_000, "1 GB"), (4_920_000_000, "4.9 GB"),
        (29_300_000_000, "29.3 GB"), (1_370_000_000_000, "1370 GB"),
    ],
)  # fmt: skip
def test_sizes(n_bytes: float, text: str) -> None:
    assert size(n_bytes) == text


def test_names_that_are_none_of_the_choices() -> None:
    error = unknown("there is no policy 'sotf'", "sotf", ["greedy", "soft"])
    assert (error.message, error.hint) == ("there is no policy 'sotf'", "did you mean 'soft'? there are: greedy, soft")
    assert unknown("no", "xyz", ["greedy"]).hint == "there are: greedy"
    assert unknown("no", "xyz", []).hint == "there are: none"


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.1, "110 %"), (0.0041, "0.41 %"), (0.041, "4.1 %"), (24, "2400 %"), (0.999, "100 %"), (0, "0 %")],
)
def test_shares_have_no_exponent(share: float, shown: str) -> None:
    assert percent(share) == shown
