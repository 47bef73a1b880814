"""Missions in the formats of other programs, written as they are read: no mission is held whole."""
