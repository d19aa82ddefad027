"""Searching for better nets under a brief: candidates around a starting recipe, judged, trained, compared."""
