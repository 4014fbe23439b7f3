"""Evaluate a model: metrics with intervals, calibration, operating point, plots, HTML report and model card.

Start with evaluate.py. operating_point.py chooses the decision threshold, templates/ has the report's pages.
"""
