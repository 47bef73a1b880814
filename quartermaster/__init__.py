"""Quartermaster tells people whether their AI agent got worse."""

__version__ = "0.1.0"
