"""PyTorch modules of the user's own: nets in files, notebooks and installed packages, and their weights."""
