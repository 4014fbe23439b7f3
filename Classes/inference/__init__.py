"""Run a frozen graph on a device and turn probabilities into predictions. Never imports TensorFlow.

Start with backend.py (the interface) and device_selection.py, then prediction.py.
"""
