"""The one ASGI app: page, HTTP API, metrics."""
