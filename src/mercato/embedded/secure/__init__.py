"""Secure mode: an authority and certificates of our own, and a user with rights per service."""
