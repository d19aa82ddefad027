"""A run as a plain project of its own, without convsmith."""
