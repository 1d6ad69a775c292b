"""The REST door: JSON in, gRPC behind, problem+json for every error."""
