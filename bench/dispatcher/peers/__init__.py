"""One module for each peer: its worker and its `feed`. They run with the peers' own Python, never with ours."""
