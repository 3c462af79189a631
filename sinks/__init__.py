"""Where records end: the lake, the SQL worker, the console."""
