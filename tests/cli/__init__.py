"""The `mercato` command."""
