"""Rows waiting for a device, and who goes next."""
