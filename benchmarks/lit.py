"""A LitServe server around our engine, to compare Server.py with: started by serving.py.

python3 benchmarks/lit.py PORT [--set Key=value]      # then POST /predict, a form whose field is `content`
python3 benchmarks/lit.py PORT --checks               # with the checks of the image that Server.py makes
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import litserve

from Classes import Helpers
from Classes.common import cli
from Classes.imaging import content_check, decode
from Classes.inference import device_selection, image_review, model_card, prediction


class Classifier(litserve.LitAPI):
    """Decodes and classifies as Server.py does; no heat map, no limits, no log.

    Args:
      options: (configuration file or None, settings).
      checks: whether it also finds out if the image shows a cell like those of the training images.
    """

    def __init__(self, options, checks):
        super().__init__()
        self._options, self._checks = options, checks

    def setup(self, device):
        self._configuration = Helpers.load_config(*self._options)
        self._card = model_card.load_model_card(self._configuration.card)
        self._engine = device_selection.open_backend(self._configuration, self._card)

    def decode_request(self, request):
        content, limits = request["content"].file.read(), decode.decode_limits(self._configuration)
        if not self._checks:
            return self._card.input_spec.decode_and_resize(content, limits), None
        image, small = self._card.input_spec.decode_views(content, limits)
        content_check.require_content(small)
        return image, small

    def predict(self, views):
        image, small = views
        return self._engine.classify(image[None])[0], image, small

    def encode_response(self, output):
        probabilities, image, small = output
        reasons = ()
        if small is not None:
            features = image_review.review_features(small, self._card)
            reasons = image_review.review_image(image, self._card, features).reasons
        threshold = self._configuration["InceptionThreshold"]
        result = prediction.make_prediction(probabilities, self._card, threshold, reasons)
        return {"verdict": result.description, "confidence": result.confidence, "notice": Helpers.DISCLAIMER}


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--checks", action="store_true", help="make the checks of the image, too")
    options = parser.parse_args(arguments)
    classifier = Classifier((options.confs, options.settings), options.checks)
    server = litserve.LitServer(classifier, accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
