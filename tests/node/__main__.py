"""`python -m tests.node` prints the packages that a node lacks on this machine; `.ci/run` installs them."""

import click

from tests.cluster.binaries import Places
from tests.node.requirements import missing

click.echo(" ".join(missing(Places.from_environment())))
