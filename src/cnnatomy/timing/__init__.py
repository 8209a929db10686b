"""Clocks: how long a network and its layers really take, and this machine's calibration. All of it needs torch."""
