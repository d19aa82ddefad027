"""Data sets checked and described without a change to them."""
