"""The HTTP service: Flask application, admission control, access control, metrics and events.

Start with app.py (endpoints) and prediction_service.py; admission.py decides which requests run.
"""
