"""The rules of identity: what an account is, and what proves whose it is."""
