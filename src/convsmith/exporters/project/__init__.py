"""Eject a run as a plain PyTorch project without convsmith."""
