"""Publish a model: freeze it, quantize it, export it for model servers, or compile it for the Movidius stick.

Start with freeze_graph.py.
"""
