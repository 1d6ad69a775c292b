"""The `mercato` command; a further command is one more line in `app.py` and one more file."""
