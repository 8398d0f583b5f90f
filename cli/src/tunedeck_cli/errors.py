"""What the command tells a person when it cannot go on."""


class CommandFailed(Exception):
    """Says what happened, where, and what to do; printed without a traceback, exit status 1."""
