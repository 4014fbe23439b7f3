"""The HTTP client of Client.py.

Start with send_images.py (the run), then connection.py (retries and timeouts) and response.py (checks).
"""
