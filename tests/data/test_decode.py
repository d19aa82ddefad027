"""Decoding images."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convsmith.data.decode import UnusableImageError, decode_image
from helpers.faults import encoded
from helpers.sources import Folder, problems


def test_a_huge_image_is_rejected_by_its_header(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    path = root / "train" / "one" / "0.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)
    assert "oversized: more than 50,000,000 pixels by its header" in problems(root)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}), ("WEBP", {}), ("GIF", {}),
        ("TIFF", {}), ("PPM", {}),
    ],
)  # fmt: skip
def test_no_truncated_file_decodes_to_other_pixels(kind: str, options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    decoded = np.asarray(decode_image(content.getvalue()).image)
    passed = 0
    for length in range(len(content.getvalue())):
        try:
            part = decode_image(content.getvalue()[:length])
        except UnusableImageError:
            continue
        passed += 1
        assert np.array_equal(np.asarray(part.image), decoded), length
    # Only what comes after the last pixel may be missing.
    assert passed <= 20


def test_every_flipped_bit_of_a_png_is_detected() -> None:
    content = encoded(0)
    decoded = np.asarray(decode_image(content).image)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        try:
            assert np.array_equal(np.asarray(decode_image(bytes(flipped)).image), decoded), place
        except UnusableImageError:
            continue
