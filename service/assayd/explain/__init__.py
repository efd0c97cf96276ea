"""Drives jobs: a method on one side, the scheduler on the other."""
