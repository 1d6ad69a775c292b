"""Accounts: registration, authentication, profiles and roles."""
