"""The data plane: takes notification jobs, delivers each through its channels, and measures itself."""

from importlib.metadata import version

__version__ = version("plannivo-notifications")
