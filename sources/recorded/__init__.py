"""Recorded logs of real machines, one format a file."""
