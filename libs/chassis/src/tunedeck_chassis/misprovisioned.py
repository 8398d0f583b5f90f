"""What is told where NATS or MongoDB are not as Tunedeck needs them."""


class Misprovisioned(Exception):
    """Something is missing or otherwise than needed; the message says what, where, and what to do."""
