"""Measure a model: metrics with intervals, calibration, decision threshold, plots and the HTML report.

Start with evaluate.py; operating_point.py chooses the threshold.
"""
