"""The data plane: takes notification jobs, delivers each through its channels, and measures itself."""
