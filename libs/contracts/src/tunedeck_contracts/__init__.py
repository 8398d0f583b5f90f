"""What Tunedeck's services say to each other.

Pydantic and the standard library only: a message type may be imported by
anything, so it may drag nothing in.
"""
