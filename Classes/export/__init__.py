"""Publish a model: freeze it, quantize it, write it for model servers or compile it for the Movidius stick.

Start with freeze_graph.py.
"""
