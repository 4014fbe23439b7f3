"""Run a frozen graph on a device and turn probabilities into predictions. Never imports TensorFlow.

Start with model.py (the Python API), then backend.py (the interface) and device_selection.py.
"""
