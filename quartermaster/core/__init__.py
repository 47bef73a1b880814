"""The calculator: no clock, no disk, no network, no randomness that is not passed in."""
