"""Backups: a database at one moment as a folder of checked files, and back."""

from mercato.backup.manifest import BackupError, Content, Manifest, Tell, check, read, silent
from mercato.backup.restoring import Change, Restore
from mercato.backup.taking import take

__all__ = [
    "BackupError",
    "Change",
    "Content",
    "Manifest",
    "Restore",
    "Tell",
    "check",
    "read",
    "silent",
    "take",
]
