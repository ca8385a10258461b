"""Small pictures for docs/: a PNG with few colours. Knows Pillow, which matplotlib brings."""

from __future__ import annotations

import io

from PIL import Image


def fewer_colours(png: bytes, colours: int = 64) -> bytes:
    """The same picture with a palette, if that is smaller.

    Args:
        png: the picture.
        colours: how many there may be, up to 256.
    """
    image = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    image.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return min(png, out.getvalue(), key=len)
