"""Tests of mercato.kernel."""
