"""Where jobs wait: one port (`base`), and the engines behind it."""
