"""psycopg 3, by psycopg.connect; the time limit is PGCONNECT_TIMEOUT."""

import json
import sys

import psycopg

WHERE = (
    "select json_build_object('database', current_database(), "
    "'port', inet_server_port(), 'user', current_user)::text"
)


def answer(url):
    with psycopg.connect(url) as connection:
        return json.loads(connection.execute(WHERE).fetchone()[0])


for line in sys.stdin:
    try:
        result = answer(json.loads(line)["url"])
    except Exception as error:  # Whatever a driver says is an answer.
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
