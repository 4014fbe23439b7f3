"""Serve the trained model over HTTP: an API for programs and a page for people. Research use only.

python3 Server.py                                     # http://127.0.0.1:8080, for this machine only
python3 Server.py --set Port=9000 --set Capture=true  # another port; store uploads in Model/Data/Captured
python3 Server.py --device NCS1                       # on the Movidius stick
python3 Server.py --open                              # also open the page in the browser
python3 Server.py --demo --open                       # with the demo model, which was trained on synthetic smears
ALL_API_KEY=$(openssl rand -hex 32) python3 Server.py --set IP=0.0.0.0     # for other machines, with an API key
curl --data-binary @Model/Test/Im047_0.jpg http://127.0.0.1:8080/Inference

Reads Model/ALLGraph.pb and its model card; writes Logs/ClassifierServer.log and Logs/Access.log. SIGTERM or Ctrl-C
stops the server after all accepted requests are answered, at most `ShutdownTimeout` seconds later; a second one stops
it at once.
"""

import sys

from Classes.common import cli
from Classes.common.loading import loading


def main(arguments: list[str] | None = None) -> int:
    parser = cli.base_parser(__doc__, "Server", device=True)
    parser.add_argument("--open", action="store_true", help="open the page in the browser as soon as it is ready")
    parser.add_argument("--demo", action="store_true", help="use the demo model in Model/Demo instead of ALLGraph")
    options = parser.parse_args(arguments)
    with loading():
        from Classes import Helpers
        from Classes.serving import server

    demo = [f"ALLGraph={Helpers.PROJECT / 'Model' / 'Demo' / 'ALLGraph.pb'}"] if options.demo else []
    configuration = Helpers.load_config(options.confs, [*options.settings, *demo])
    Helpers.start_log(configuration, "ClassifierServer")
    return server.serve(configuration, options.open)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVER))
