"""Helper package behind the six entry scripts.

common < imaging < dataset < networks < training is the path of an image into a model; common < imaging < inference <
serving is the path of an image to a result. evaluation and export lie between them; client needs only common.
"""
