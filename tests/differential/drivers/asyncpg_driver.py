"""asyncpg, by asyncpg.connect."""

import asyncio
import json
import sys

import asyncpg

WHERE = (
    "select json_build_object('database', current_database(), "
    "'port', inet_server_port(), 'user', current_user)::text"
)
PATIENCE = 3


async def answer(url):
    connection = await asyncpg.connect(url)
    try:
        return json.loads(await connection.fetchval(WHERE))
    finally:
        connection.terminate()


async def main():
    for line in sys.stdin:
        try:
            result = await asyncio.wait_for(answer(json.loads(line)["url"]), PATIENCE)
        except Exception as error:  # Whatever a driver says is an answer.
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


asyncio.run(main())
