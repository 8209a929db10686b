"""Accounts as data, tables and reports."""
