"""The gateway: HTTP and WebSocket on one side, the bus on the other, no domain between."""
