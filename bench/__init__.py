"""Benchmarks: ours beside a peer that does the same work, in turn, in one run."""
