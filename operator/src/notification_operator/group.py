"""What the resource is called in the API, for everything that names it. Constants alone, that need no model."""

GROUP = "notifications.plannivo.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "NotificationPipeline"
PLURAL = "notificationpipelines"

DISPATCHER_CONTAINER = "dispatcher"
"""The container of each pod that is ours: meshes and injectors put others beside it."""

DISPATCHER_PORT = 4000
"""Of its API, its probes and its metrics, where a pipeline names no other."""

PIPELINE_LABEL = f"{GROUP}/pipeline"
"""On every child and every pod, and nothing else: the name of its pipeline. The operator watches by it."""
