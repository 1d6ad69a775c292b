"""A whole cluster on one machine: what may be lost of it without anybody noticing."""
