"""The control plane: reconciles NotificationPipelines into dispatchers and what watches them."""

from importlib.metadata import version

__version__ = version("plannivo-notifications")
