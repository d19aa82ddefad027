"""Submissions judged by a brief: what they hold, what they claim, and what they share."""
