"""The trainer service: one training process at a time, and everything it tells."""
