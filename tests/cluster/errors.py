"""What can go wrong with the test cluster; every module of this package raises these.

ClusterError
└── GoUnavailableError

Their text is written for the person at the terminal: what happened, and what to do about it.
"""


class ClusterError(Exception):
    """The test cluster, or a command sent to it, failed; the text says why and what to do."""


class GoUnavailableError(ClusterError):
    """A binary has to be built, and Go is missing or too old."""
