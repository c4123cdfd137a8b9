"""What the dispatcher's pods are: their image, their place, their number."""

from __future__ import annotations

from notification_dispatcher.schema import Enumeration


class ImagePullPolicy(Enumeration):
    """When the kubelet pulls the dispatcher's image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"
