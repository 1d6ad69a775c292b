"""Tests of mercato.inventory."""
