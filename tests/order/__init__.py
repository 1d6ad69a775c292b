"""Tests of mercato.order."""
