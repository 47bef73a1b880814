"""Alerts at work: what has happened since a rule looked last, and how its messages get out."""
