"""Ordinary work by psycopg 3."""

import json
import sys
import threading

import psycopg

TABLE = "create temp table t (id int, words text)"


def cancel(connection):
    timer = threading.Timer(0.3, connection.cancel_safe)
    timer.start()
    try:
        connection.execute("select pg_sleep(60)")
    except psycopg.errors.QueryCanceled:
        connection.rollback()
        return "cancel"
    finally:
        timer.join()


def work(url):
    done = []
    with psycopg.connect(url) as connection:
        for number in range(10):
            row = connection.execute("select %s::int + 1", (number,), prepare=True).fetchone()
            assert row == (number + 1,)
        done.append("prepared")
        connection.execute(TABLE)
        with connection.cursor() as cursor:
            with cursor.copy("copy t from stdin") as copy:
                for number in range(20000):
                    copy.write_row((number, "x" * 50))
            done.append("copy in")
            with cursor.copy("copy t to stdout") as copy:
                assert sum(1 for _ in copy.rows()) == 20000
            done.append("copy out")
            rows = cursor.execute("select repeat('y', 1000) from generate_series(1, 20000)").fetchall()
            assert len(rows) == 20000
            done.append("large")
        connection.commit()
        with connection.pipeline():
            cursors = [connection.execute("select %s::int", (n,)) for n in range(100)]
        assert [c.fetchone()[0] for c in cursors] == list(range(100))
        done.append("pipeline")
        connection.commit()
        done.append(cancel(connection))
        assert connection.execute("select 1").fetchone() == (1,)
        connection.commit()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("listen news")
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("notify news, 'hello'")
        for notice in connection.notifies(timeout=10):
            assert notice.payload == "hello"
            done.append("notify")
            break
    return done


for line in sys.stdin:
    try:
        result = {"done": work(json.loads(line)["url"])}
    except Exception as error:  # Whatever a driver says is an answer.
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
