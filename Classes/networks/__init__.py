"""Network architectures and their pretrained weights.

Start with registry.py; each file in architectures/ is one network.
"""
