"""Quantizations as file names write them: Q4_K_M, IQ2_XXS, BF16. Knows names, no files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

DEFAULT = "Q4_K_M"

# Bits a weight, from the table of llama.cpp's quantize tool (Llama 3.1 8B), to the tenth.
BITS = {
    "IQ1_S": 2.0, "IQ1_M": 2.1, "TQ1_0": 1.7, "TQ2_0": 2.1, "IQ2_XXS": 2.4, "IQ2_XS": 2.6, "IQ2_S": 2.7, "IQ2_M": 2.9,
    "Q2_K_S": 3.0, "Q2_K": 3.2, "Q2_K_L": 3.3, "IQ3_XXS": 3.3, "IQ3_XS": 3.5, "IQ3_S": 3.7, "Q3_K_S": 3.6, "IQ3_M": 3.8,
    "Q3_K_M": 4.0, "Q3_K_L": 4.3, "Q3_K_XL": 4.4, "IQ4_XS": 4.5, "MXFP4_MOE": 4.5, "MXFP4": 4.5, "IQ4_NL": 4.7,
    "Q4_0": 4.7, "Q4_K_S": 4.7, "Q4_K_M": 4.9, "Q4_K_L": 5.0, "Q4_K_XL": 5.0, "Q4_1": 5.1, "Q5_0": 5.5, "Q5_K_S": 5.6,
    "Q5_K_M": 5.7, "Q5_K_L": 5.8, "Q5_K_XL": 5.8, "Q5_1": 6.0, "Q6_K": 6.6, "Q6_K_L": 6.7, "Q6_K_XL": 6.8, "Q8_0": 8.5,
    "Q8_K_XL": 9.0, "BF16": 16.0, "F16": 16.0, "FP16": 16.0, "F32": 32.0, "FP32": 32.0,
}  # fmt: skip
_NAME = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:(?:I?Q|TQ)\d(?:_?[A-Z0-9]+)*|INT[48]|[2-8]-?BIT|B?F16|FP16|FP?32|FP8|(?:MX|NV)FP4(?:_MOE)?))"
    r"(?=[-._/]|$)",
    re.I,
)
# Files beside a model, as llama.cpp and those who publish models name them
_SIDE_FIRST = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def of(file: str) -> str:
    """Return the quantization in a file's name, or in that of the folder it is in; "" if there is none."""
    path = PurePosixPath(file)
    for text in (path.name.removesuffix(".gguf"), path.parent.name):
        if names := _NAME.findall(text):
            return str(names[-1]).upper()
    return ""


def bits(quant: str) -> float | None:
    """Return a quantization's bits a weight, as far as its name tells; None if it tells nothing.

    A name that is not in the table counts as the longest beginning that is: Q4_0_8_8 as Q4_0. Q4_K is Q4_K_M, as in
    llama.cpp. Of others the number counts: Q4 and 4bit as 4.5 bits, for the scales that each block has.
    """
    name = quant.upper().removeprefix("UD-")
    parts = name.split("_")
    for n in range(len(parts), 0, -1):
        beginning = "_".join(parts[:n])
        if beginning in BITS:
            return BITS[beginning]
        if f"{beginning}_M" in BITS:
            return BITS[f"{beginning}_M"]
    if "FP4" in name or "FP8" in name:
        return 4.5 if "FP4" in name else 8.0
    number = re.search(r"[1-8]", name)
    return int(number[0]) + 0.5 if number and _NAME.fullmatch(name) else None


def is_side_file(file: str) -> bool:
    """Return whether this is a projector, an importance matrix or a draft head rather than a model, by its name.

    A model may have been quantized with an importance matrix, or hold a head for several tokens (MTP), and say so in its
    name. So those words count at the beginning of a name only, or, for a matrix, where no quantization follows or precedes.
    """
    path = PurePosixPath(file)
    name = path.name.lower()
    if name.startswith(_SIDE_FIRST) or "mmproj" in name:
        return True
    return "imatrix" in name and not _NAME.search(path.name.removesuffix(".gguf"))


def matches(file: str, quant: str) -> bool:
    """Return whether `quant` is this file's quantization, its name, its path, or its name's last part.

    Case does not matter, and any file of a split model stands for the whole.
    """
    quant = _SHARD.sub("", quant.lower().removesuffix(".gguf"))
    stem = _SHARD.sub("", file.lower().removesuffix(".gguf"))
    name = PurePosixPath(stem).name
    return quant in (of(file).lower(), stem, name) or name.endswith((f"-{quant}", f".{quant}"))


def nearest(available: Iterable[str]) -> str | None:
    """Return the quantization whose size is nearest to Q4_K_M's, the larger of two as near; None if no name is known."""
    known = {q: b for q in available if (b := bits(q)) is not None}

    def distance(q: str) -> tuple[float, float, bool, str]:
        return (round(abs(known[q] - BITS[DEFAULT]), 3), -known[q], q != DEFAULT, q)

    return min(known, key=distance, default=None)
