"""Tests of mercato.platform."""
