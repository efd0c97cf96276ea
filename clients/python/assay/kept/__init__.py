"""Decisions kept in a folder: written, resumed, verified, run again."""
