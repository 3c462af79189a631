"""Logs of runs that others recorded: one format a file, found by their contents, replayed with their own time."""
