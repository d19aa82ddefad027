"""Briefs: requirements on a net and its training, and their checks."""
