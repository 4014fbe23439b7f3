"""Find white cells in photographed fields, name their types and count them. Never imports TensorFlow.

Start with differential.py (the counts that people read) and blast_fraction.py (blasts among white cells).
"""
