import json

import flask
import pytest

from Classes.serving import json_answers

URI = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    "answer",
    [
        {"verdict": "ALL", "heat_map": URI, "heat_map_class": "1"},
        {"heat_map": URI, "seconds": 0.00001},
        {"message": 'the text "heat_map":"" of a client', "heat_map": URI, "name": "é"},
        {"probabilities": {"heat_map": 1.0}, "heat_map": URI},
        {"heat_map": 'data:text/plain,"quoted"'},
        {"heat_map": 'a "quoted" text'},
        {"heat_map": None},
        {"results": [{"heat_map": URI}]},
        [URI],
    ],
)
def test_an_answer_is_the_json_of_the_standard_library(answer):
    application = flask.Flask("test")
    application.json = json_answers.AnswerJSON(application)

    response = application.json.response(answer)

    assert response.get_data(as_text=True) == json.dumps(answer, separators=(",", ":")) + "\n"
    assert application.json.dumps(answer) == json.dumps(answer)
