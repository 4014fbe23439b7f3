"""Shared by every package: command line, configuration, errors, files, locks, signals. Imports no other package.

Start with errors.py and config.py.
"""
