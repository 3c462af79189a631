"""The composition root: command line, demo, terminal views."""
