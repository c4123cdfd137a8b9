"""The control plane: reconciles NotificationPipelines into dispatchers and what watches them."""
