"""The HTTP service: Flask application, request queue, access control, metrics and MQTT.

Start with app.py (what every request passes) and prediction_routes.py, then prediction_service.py and http_server.py.
"""
