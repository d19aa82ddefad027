"""Notebooks as files."""

import json
from pathlib import Path


def write_notebook(path: Path, *cells: str, nbformat: int = 4) -> Path:
    """Write a notebook of format 3 or 4 with a title and code cells."""
    title = {"cell_type": "markdown", "metadata": {}, "source": ["# A net"]}
    if nbformat == 4:
        code = [
            {"cell_type": "code", "metadata": {}, "outputs": [], "source": text.splitlines(keepends=True)}
            for text in cells
        ]
        content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [title, *code]}
    else:
        code = [{"cell_type": "code", "language": "python", "outputs": [], "input": text} for text in cells]
        content = {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": [title, *code]}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
