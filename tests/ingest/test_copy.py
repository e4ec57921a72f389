import numpy as np
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ingest import copy, records
from ingest.copy import Column
from ingest.records import Field

KINDS = {
    "timestamptz": (st.integers(-(2**50), 2**55), "i8"),
    "float8": (st.floats(allow_nan=False), "f8"),
    "int8": (st.integers(-(2**63), 2**63 - 1), "i8"),
    "int4": (st.integers(-(2**31), 2**31 - 1), "i4"),
    "int2": (st.integers(-(2**15), 2**15 - 1), "i2"),
}
FIELDS = [Field("time", "timestamptz"), Field("a", "float8", nullable=True), Field("b", "int4", nullable=True)]


@st.composite
def tables(draw):
    size = draw(st.integers(0, 12))
    columns = []
    for i, kind in enumerate(draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5))):
        entries, dtype = KINDS[kind]
        values = np.array(draw(st.lists(entries, min_size=size, max_size=size)), dtype=dtype)
        missing = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
        columns.append(Column(f"c{i}", kind, values, missing if draw(st.booleans()) else None))
    return columns, size


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_what_is_written_column_by_column_is_what_the_table_holds(plain_dsn, drawn):
    columns, size = drawn
    with psycopg.connect(plain_dsn) as conn:
        kinds = ", ".join(f"{c.name} {c.kind}" for c in columns)
        conn.execute("DROP TABLE IF EXISTS t")
        conn.execute(f"CREATE TABLE t ({kinds})")
        copy.write(conn, "t", columns, size)
        names = ", ".join(
            f"(extract(epoch FROM {c.name} - '2000-01-01+00') * 1e6)::int8" if c.kind == "timestamptz" else c.name
            for c in columns
        )
        rows = conn.execute(f"SELECT {names} FROM t").fetchall()
    expected = [
        tuple(None if c.missing is not None and c.missing[i] else c.values[i].item() for c in columns)
        for i in range(size)
    ]
    assert sorted(rows, key=repr) == sorted(expected, key=repr)


def test_constants_texts_and_packed_rows_come_back(plain_dsn):
    time = np.array([3, 1, 2], dtype=np.int64) * 10**6
    columns = [
        Column("time", "timestamptz", time),
        Column("a", "float8", np.array([0.1, 0.2, np.nan]), np.array([False, False, True])),
        Column("b", "int4", np.array([7])),
        Column("s", "text", np.array([b"co2"], dtype="S3")),
    ]
    with psycopg.connect(plain_dsn) as conn:
        conn.execute("CREATE TABLE t (time timestamptz, a float8, b int4, s text)")
        copy.write(conn, "t", columns, 3)
        query = sql.SQL("SELECT s, {} FROM t GROUP BY s").format(records.packed(FIELDS))
        found = records.fetch(conn, query, [], FIELDS)
    assert list(found) == ["co2"]
    epoch = np.datetime64("2000-01-01", "ns")
    np.testing.assert_array_equal(found["co2"]["time"], epoch + np.arange(1, 4) * np.timedelta64(1, "s"))
    np.testing.assert_array_equal(found["co2"]["a"], [0.2, np.nan, 0.1])
    np.testing.assert_array_equal(found["co2"]["b"], [7, 7, 7])


def test_times_are_kept_to_the_microsecond_both_ways():
    ms = np.array([946_684_800_000, 0, 1_790_000_000_123], dtype=np.int64)
    np.testing.assert_array_equal(
        copy.from_micros(copy.micros(ms)), ms.astype("datetime64[ms]").astype("datetime64[ns]")
    )
