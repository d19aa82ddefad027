"""Images decoded once, kept on disk and found again by content."""
