"""Measurements. `make bench-dispatcher` runs them; the README beside this file says what they mean."""
