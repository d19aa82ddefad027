"""Looking at a net from outside: whether it keeps the brief it was given."""
