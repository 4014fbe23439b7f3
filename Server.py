"""Serve the trained model over HTTP: an API for programs, a page for people. Research use only.

python3 Server.py                                     # http://127.0.0.1:8080, this machine only
python3 Server.py --set Port=9000 --set Capture=true  # another port; keep what is sent in Model/Data/Captured
python3 Server.py --device NCS1                       # on the Movidius stick
ALL_API_KEY=$(openssl rand -hex 32) python3 Server.py --set IP=0.0.0.0     # the network, for those who have the key
curl --data-binary @Model/Test/Im047_0.jpg http://127.0.0.1:8080/Inference

Reads Model/ALLGraph.pb and its card; writes Logs/ClassifierServer.log and Logs/Access.log. SIGTERM or Ctrl-C ends it
when everything that it has accepted is answered, at the latest after `ShutdownTimeout` seconds; a
second one ends it at once.
"""

import sys

from Classes.common import cli


def main(arguments=None) -> int:
    parser = cli.base_parser(__doc__, "Server", device=True)
    options = parser.parse_args(arguments)
    from Classes import Helpers
    from Classes.serving import server

    configuration = Helpers.load_config(options.confs, options.settings)
    Helpers.start_log(configuration, "ClassifierServer")
    return server.serve(configuration)


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVER))
