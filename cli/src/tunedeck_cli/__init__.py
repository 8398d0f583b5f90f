"""The `tunedeck` command: the embedded stack, the demo, and a client of the HTTP API."""
