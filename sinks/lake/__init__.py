"""The lake: Delta tables that own the offsets of what they hold."""
