"""Sheets of small images, as one PNG or one HTML file."""
