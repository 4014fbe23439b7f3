"""Decode image files and bring them to the size of a network. decode.py is the only decoder of the project.

Start with decode.decode_image; tiff.py and bit_depth.py handle what cameras and microscopes write.
"""
