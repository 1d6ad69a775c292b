"""Programs that measure; each starts a platform of its own. `make bench` runs them."""
