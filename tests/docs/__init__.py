"""The documentation, held to what it describes: pages that are generated, and tests of those that are written."""
