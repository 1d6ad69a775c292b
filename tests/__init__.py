"""Every part is tested against the real servers; nothing leaves loopback."""
