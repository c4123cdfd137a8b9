"""The operator beside the limit of the API server: `python -m bench.operator`."""
