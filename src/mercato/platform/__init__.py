"""Adapters that every service shares; knows drivers, knows no service."""
