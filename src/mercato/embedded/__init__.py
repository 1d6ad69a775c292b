"""The real mongod, Valkey, nats-server and a mailbox, started and looked after for you."""
