"""The HTTP API: a door for each noun, all of them opened by one application."""
