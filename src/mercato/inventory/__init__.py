"""The catalogue and its stock: products, reservations and the ledger."""
