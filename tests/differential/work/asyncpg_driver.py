"""Ordinary work by asyncpg; it sends a cancel request when a time limit is over."""

import asyncio
import io
import json
import sys

import asyncpg


async def work(url):
    done = []
    connection = await asyncpg.connect(url)
    statement = await connection.prepare("select $1::int + 1")
    for number in range(10):
        assert await statement.fetchval(number) == number + 1
    done.append("prepared")
    await connection.execute("create temp table t (id int, words text)")
    records = [(number, "x" * 50) for number in range(20000)]
    await connection.copy_records_to_table("t", records=records)
    done.append("copy in")
    out = io.BytesIO()
    await connection.copy_from_query("select * from t", output=out)
    assert len(out.getvalue().splitlines()) == 20000
    done.append("copy out")
    rows = await connection.fetch("select repeat('y', 1000) from generate_series(1, 20000)")
    assert len(rows) == 20000
    done.append("large")
    try:
        await connection.execute("select pg_sleep(60)", timeout=0.3)
    except asyncio.TimeoutError:
        assert await connection.fetchval("select 1") == 1
        done.append("cancel")
    heard = asyncio.get_running_loop().create_future()
    await connection.add_listener("news", lambda *news: heard.set_result(news[3]))
    other = await asyncpg.connect(url)
    await other.execute("notify news, 'hello'")
    assert await asyncio.wait_for(heard, 10) == "hello"
    done.append("notify")
    await other.close()
    await connection.close()
    return done


async def main():
    for line in sys.stdin:
        try:
            result = {"done": await work(json.loads(line)["url"])}
        except Exception as error:  # Whatever a driver says is an answer.
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


asyncio.run(main())
