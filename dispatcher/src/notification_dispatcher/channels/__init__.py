"""The ways out for notifications: one port (`base`), and a module for each kind of channel."""
