"""A data set that comes from bad mirrors, through the command line; the servers are this test's own."""

import gzip
import hashlib

import numpy as np
import pytest

from neuroforge_jax.data.download import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from neuroforge_jax.data.readers.idx import write_idx
from tests.data.test_download import closed_port, gives, mirror
from tests.reliability.processes import run

pytestmark = pytest.mark.faults

TRAIN = ["--dataset", "mnist", "--data-dir", "data", "--run-dir", "run", "--hidden", "8"]
FLAGS = [*TRAIN, "--epochs", "1", "--batch-size", "32"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Four files like MNIST's, 200 and 40 samples, as they would be published."""
    folder, rng = tmp_path_factory.mktemp("published"), np.random.default_rng(0)
    published = {}
    for images, labels, count in ((TRAIN_IMAGES, TRAIN_LABELS, 200), (TEST_IMAGES, TEST_LABELS, 40)):
        arrays = {images: rng.integers(0, 256, (count, 28, 28)), labels: np.arange(count) % 10}
        for name, array in arrays.items():
            published[name] = write_idx(folder / name, array.astype(np.uint8)).read_bytes()
    return published


def plant(archives, *mirrors):
    """The process knows the digests of these files, and these mirrors."""
    known = {name: hashlib.sha256(gzip.decompress(packed)).hexdigest() for name, packed in archives.items()}
    return (
        "from neuroforge_jax.data import datasets\n"
        "from neuroforge_jax.data.download import Archive, ArchiveFile\n"
        f"files = tuple(ArchiveFile(name, digest) for name, digest in {known!r}.items())\n"
        f"datasets.ARCHIVES['mnist'] = Archive('mnist', files, {mirrors!r})\n"
    )


def honest(archives):
    return lambda handler: gives(archives[handler.path.rpartition("/")[2]])(handler)


def altered(archives):
    """Other pictures under the right names: whole archives, and not the published ones."""

    def answer(handler):
        name = handler.path.rpartition("/")[2]
        payload = bytearray(gzip.decompress(archives[name]))
        payload[-1] ^= 1
        gives(gzip.compress(bytes(payload)))(handler)

    return answer


def cut(archives):
    def answer(handler):
        whole = archives[handler.path.rpartition("/")[2]]
        gives(whole[: len(whole) // 2], length=len(whole))(handler)

    return answer


def page(_):
    return gives(b"<!DOCTYPE html><html><body>Moved</body></html>")


@pytest.mark.parametrize("bad", [altered, cut, page])
def test_what_the_first_mirror_spoils_the_second_gives(bad, archives, tmp_path):
    with mirror(bad(archives)) as first, mirror(honest(archives)) as second:
        code, out, err = run(FLAGS, tmp_path, plant(archives, first, second))
    assert (code, err) == (0, "")
    assert "200 training, 40 test samples" in out
    assert {path.name: path.read_bytes() for path in (tmp_path / "data" / "mnist").iterdir()} == archives


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (altered, "the contents are not the published ones (SHA-256 "),
        (cut, ": cut off after "),
        (page, ": this is a web page, not an IDX file"),
    ],
    ids=["altered", "cut", "page"],
)
def test_spoiled_by_all_mirrors_it_is_a_line_and_nothing_is_kept(bad, words, archives, tmp_path):
    with mirror(bad(archives)) as address:
        code, out, err = run(FLAGS, tmp_path, plant(archives, address, closed_port()))
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
    assert words in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
