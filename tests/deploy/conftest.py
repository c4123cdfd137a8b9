"""Fixtures of the deployment's tests: `helm`, without a cluster."""

import pytest

from tests.deploy.helm import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """helm, for what needs no cluster."""
    return Helm()
