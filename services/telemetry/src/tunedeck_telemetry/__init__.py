"""The telemetry service: what runs tell, stored once and read back."""
