"""Transactional mail: a durable queue in front of SMTP that never sends twice."""
