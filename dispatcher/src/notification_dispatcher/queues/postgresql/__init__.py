"""The shared engine: any number of dispatchers on one PostgreSQL schema. `run` makes it, `engine` is its way in."""
