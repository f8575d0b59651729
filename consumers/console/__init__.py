"""The console: a page in the worker's HTTP server that says how the line is, and why a user got what he got."""
