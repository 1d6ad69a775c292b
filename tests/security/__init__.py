"""Whoever may not do a thing cannot do it, and what is tried leaves a trace without a secret."""
