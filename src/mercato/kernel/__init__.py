"""Rules and values that every part shares; standard library only, no I/O."""
