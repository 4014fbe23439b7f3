"""Train a network or its last layer, resumable at every step, on one machine or several.

Start with train.py, then loop.py and trainers.py.
"""
