"""The whole story against the whole platform: REST in, stock and mails out, under real faults."""
