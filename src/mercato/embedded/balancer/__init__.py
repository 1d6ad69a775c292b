"""One HTTP address before several gateways, for a cluster on one machine."""
