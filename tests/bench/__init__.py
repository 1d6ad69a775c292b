"""The benchmarks' own arithmetic; what they measure is measured by `make bench`."""
