"""The gateway, by the contracts of its REST resources."""
