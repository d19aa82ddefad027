"""A run as a plain project without convsmith."""
