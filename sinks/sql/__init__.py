"""SQL over one snapshot of the lake."""
