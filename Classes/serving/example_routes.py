"""The list of practice images, for people who have no images at hand; page_routes serves the images themselves."""

from typing import Any

import flask

from Classes.serving import page_routes
from Classes.serving.openapi import documented

blueprint = flask.Blueprint("examples", __name__)


@blueprint.get("/v1/examples")
@documented(response="Examples")
def examples() -> dict[str, Any]:
    """List the practice images, which are synthetic and have no medical meaning."""
    names = [path.name for path in page_routes.example_images()]
    return {"examples": [{"name": name, "url": f"{page_routes.EXAMPLES}/{name}"} for name in names]}
