"""What the operator is installed with: the Helm chart, kustomize's files, which come from it, and samples.

`python -m tests.deploy` writes what is generated of them (`make generate`); the tests hold it to that, and install it.
"""
