"""Briefs: requirements on a network, checked."""
