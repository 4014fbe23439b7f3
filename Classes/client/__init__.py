"""Send images to the server and collect the results. Start with send_images.py."""
