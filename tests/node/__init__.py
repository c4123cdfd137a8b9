"""A cluster on whose node pods really run: containers, probes, volumes, Services, DNS.

`real_cluster` brings one up: beside the control plane of `tests.cluster` a node of this machine itself, without Docker;
or with CLUSTER=kind the node that kind makes. End-to-end tests take it through the fixture `real_cluster`.
"""

from tests.node.cluster import RealCluster, clean, real_cluster
from tests.node.requirements import lacking

__all__ = ["RealCluster", "clean", "lacking", "real_cluster"]
