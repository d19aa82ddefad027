"""Bundles with changed files."""

import hashlib
import json
from pathlib import Path


def rewritten(folder: Path, name: str, content: bytes) -> Path:
    """Replace a file of a bundle and update the manifest, as an attacker would."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
