"""Damaged text tables: `python -m tests.data.readers.fuzz_csv --count 100000` prints seconds for each 1,000.

Bytes of real kinds of tables are cut, doubled, overwritten and mixed. Whatever comes of it must be a table or a
DataError of one line.
"""

import argparse
import gzip
import io
import random
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers.csv import read_csv, stream_csv
from neuroforge_jax.data.table import Table
from neuroforge_jax.errors import DataError
from tests.data.readers.damage import damage

SEEDS = (
    b"mass,colour,kind\r\n1.5,red,apple\r\n2,green,pear\r\n,NA,?\r\n" * 3,
    b'"fixed acidity";"quality"\n7,4;5\n6,3;6\n"8,1";7\n',
    b"39, State-gov, 77516, Bachelors, <=50K\n50, ?, 83311, HS-grad, >50K\n" * 2,
    b"\"status\",\"job\",\"n\"\n'<0','a, b',1\n'0<=X<200',none,2\n",
    b'a,b\n"x ""y""\nz",1\n"",2\n',
    b"zip\tname\n01234\tM\xc3\xbcller\n99999\t\xe2\x82\xac\n",
    b"name|x\nM\xfcller|1\n\x80|2\n",
    b"  1.0   2.0  a\n -3e5  4    b\n",
    "name,x\nMüller,1\n日本,2\n".encode("utf-16"),
    b"\xef\xbb\xbf1,2,3,4\n5,6,7,8\n1e400,inf,nan,+1\n",
    gzip.compress(b"a,b\n1,2\n3,4\n" * 20, mtime=0),
    b"a,b,\n1,2,\n3,4,\n",
    b"# made by hand\n\nstation: Rome, EU\nday,mass,size\n,kg,m2\n2024-01-01,1,2\n2024-01-02,3,inf\n" * 2,
    b"# x y\n1 2\n3 4\n",
)
PIECES = (b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\0", b" ", b"\xff", b"\xc3", b"1", b"-", b"e", b"NA",
          b'""', b"\r\n", b"1,5", b"007", b"\x1f\x8b", b"\xff\xfe", b"PK\3\4", b'","', b'", "',
          b"#", b"\n#", b"kg")  # fmt: skip


def fuzz(seed: int, count: int) -> int:
    """How many of so many damaged files are tables. Each has as many rows when it is read again as a stream, like
    itself. Raises AssertionError with the content for anything else than a table or one line.
    """
    rng, tables = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        for at in range(count):
            content = damage(rng, SEEDS, PIECES)
            path.write_bytes(content)
            try:
                table = read_csv(path, DataConfig())
            except DataError as error:
                assert "\n" not in str(error), (seed, at, content, str(error))
            except Exception as error:
                raise AssertionError((seed, at, content)) from error
            else:
                tables += 1
                assert {len(column) for column in table.columns.values()} == {len(table)}, (seed, at, content)
                assert len(table.notes) <= 1
                try:
                    again = list(stream_csv(io.BytesIO(content), DataConfig(), _kinds(table), 2))
                except DataError as error:
                    raise AssertionError((seed, at, content)) from error
                assert sum(map(len, again)) == len(table), (seed, at, content)
    return tables


def _kinds(table: Table) -> dict[str, str]:
    """What a model that was trained on the table reads others like."""
    return {
        name: "number" if pa.types.is_floating(column.type) else "text"
        for name, column in table.columns.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    begun = time.perf_counter()
    tables = fuzz(options.seed, options.count)
    seconds = time.perf_counter() - begun
    print(
        f"{options.count:,} files, {tables:,} tables: {1000 * seconds / options.count:.2f} s for each 1,000"
    )


if __name__ == "__main__":
    main()
