"""The tests can see: the platform with one fault put in at a time, and what finds each."""
