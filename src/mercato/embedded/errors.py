"""What goes wrong around the platform, always with what the user can do about it."""


class PlatformError(Exception):
    """A failure to be shown to the user as one line, with the remedy (may be empty) beneath it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        if remedy:
            self.add_note(remedy)  # a traceback, as of a test, shows it too


class UsageError(PlatformError):
    """What was asked for cannot be done: another option will do."""


class NotRunning(PlatformError):
    """No platform runs on this data directory."""


class AlreadyRunning(PlatformError):
    """Another supervisor holds this data directory."""
