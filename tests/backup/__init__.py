"""Backups and restores, against real servers."""
