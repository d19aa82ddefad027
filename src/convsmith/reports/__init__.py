"""Facts as pictures and pages."""
