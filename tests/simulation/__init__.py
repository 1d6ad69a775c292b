"""The order protocol under a seed: our code on a store, a broker and a clock that misbehave."""
