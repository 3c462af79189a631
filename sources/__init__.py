"""Where telemetry enters: one protocol or log format a file."""
