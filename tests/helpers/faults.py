"""Damaged data: images and expectations for the tests of faults."""

import io
import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import convsmith as cs
from helpers.oracle import Oracle, in_process

TINY = ("model.net=C4 / G F3", "train.epochs=1", "name=tiny", "data.test_fraction=0.3")
PIXELS = load_digits().images


def digit(number: int) -> Image.Image:
    return Image.fromarray(np.rint(PIXELS[number] * 15.9).astype(np.uint8))


def encoded(number: int, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    digit(number).save(content, kind)
    return content.getvalue()


def bomb() -> bytes:
    """A small PNG whose header claims 50,000 x 50,000 pixels."""
    content = bytearray(encoded(0))
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


# The content of a file, the kind of its issue, and a part of the reason.
DAMAGE: dict[str, tuple[bytes, str, str]] = {
    "text": (b"This is text.\n", "unreadable", "not an image in one of the formats PNG, "),
    "empty": (b"", "unreadable", "the file is empty"),
    "truncated": (encoded(0)[:60], "unreadable", "truncated"),
    "truncated JPEG": (encoded(0, "JPEG")[:-40], "unreadable", "truncated"),
    "bomb": (bomb(), "oversized", "more than 50,000,000 pixels by its header"),
    "FITS": (b"SIMPLE  =                    T" + bytes(50), "unreadable", ": a FITS file"),
    "Photoshop": (b"8BPS\0\1" + bytes(50), "unreadable", ": a Photoshop file"),
    "pickle": (b"\x80\x04\x95" + bytes(50), "unreadable", ": a pickle"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "unreadable", "was never downloaded"),
}


def verify(root: Path | str, *overrides: str) -> dict[tuple[str, str], str]:
    """Return the reasons that `verify_data` reports, by kind and file; the command must report the same."""
    oracle = Oracle(*([root] if isinstance(root, Path) else []))
    verification = cs.verify_data(str(root), *overrides)
    ended = in_process("data", "verify", str(root), *overrides, "--json")
    oracle.check(ended, exit_code=0 if verification.clean else 1)
    assert json.loads(ended.out) == verification.record()
    report = in_process("data", "verify", str(root), *overrides, "--all")
    oracle.check(report, exit_code=0 if verification.clean else 1)
    assert all(issue.line() in report.out for issue in verification.issues)
    return {(each.kind, each.file): each.reason for each in verification.issues}
