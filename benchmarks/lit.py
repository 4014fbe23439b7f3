"""A LitServe server around our engine, to compare Server.py with: started by serving.py.

python3 benchmarks/lit.py PORT [--set Key=value]      # then POST /predict, a form whose field is `content`
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import litserve

from Classes import Helpers
from Classes.common import cli
from Classes.imaging import decode
from Classes.inference import device_selection, model_card, prediction


class Classifier(litserve.LitAPI):
    """Decodes, classifies and judges as Server.py does; no heat map, no limits, no log.

    Args:
      options: (configuration file or None, settings).
    """

    def __init__(self, options):
        super().__init__()
        self._options = options

    def setup(self, device):
        self._configuration = Helpers.load_config(*self._options)
        self._card = model_card.load_model_card(self._configuration.card)
        self._engine = device_selection.open_backend(self._configuration, self._card)

    def decode_request(self, request):
        return self._card.input_spec.decode_and_resize(
            request["content"].file.read(), decode.decode_limits(self._configuration)
        )

    def predict(self, image):
        return self._engine.classify(image[None])[0]

    def encode_response(self, probabilities):
        result = prediction.make_prediction(probabilities, self._card, self._configuration["InceptionThreshold"])
        return {"verdict": result.description, "confidence": result.confidence, "notice": Helpers.DISCLAIMER}


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__)
    parser.add_argument("port", type=int)
    options = parser.parse_args(arguments)
    server = litserve.LitServer(Classifier((options.confs, options.settings)), accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
