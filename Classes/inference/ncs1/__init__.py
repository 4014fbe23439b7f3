"""The Movidius Neural Compute Stick: its worker process and its graph file. Nobody else needs to read this.

Start with Classes/Movidius.py, the backend that uses it.
"""
