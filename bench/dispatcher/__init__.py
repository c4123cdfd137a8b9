"""The dispatcher beside its peers: `python -m bench.dispatcher`."""
