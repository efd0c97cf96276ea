"""Data sets: parts of them, and the files they come from."""
