"""Memory maps: which of them other processes can map again, and files that are cut."""

import os
import pickle
import sys
import tempfile

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.sources import mapped_files
from dbutterfly.sources.dispatch import as_source

Z = np.asarray(dbf.matrices.orthogonal_butterfly(64, seed=0))
EVERYTHING = (slice(0, 64), slice(0, 64))


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "z.npy", Z)
    return tmp_path / "z.npy"


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_map_that_writes_through_is_mapped_again(file, mode):
    array = np.load(file, mmap_mode=mode)
    if mode == "r+":
        array[0] = 5
    source = as_source(array)
    assert source.shared
    again = pickle.loads(pickle.dumps(source))
    assert isinstance(again.array, np.memmap)
    np.testing.assert_array_equal(again.array, array)


def test_relative_names_are_made_absolute(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    source = as_source(np.memmap("z.npy", "f8", "r", offset=128, shape=(64, 64)))
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).array, Z)


def unnamed(file):
    with tempfile.TemporaryFile() as temporary:
        array = np.memmap(temporary, "f8", "w+", shape=(64, 64))
    array[...] = Z
    return array


def deleted(file):
    with tempfile.NamedTemporaryFile() as temporary:
        array = np.memmap(temporary, "f8", "w+", shape=(64, 64))
    array[...] = Z
    return array


def replaced(file):
    array = np.load(file, mmap_mode="r")
    np.save(file.with_name("y.npy"), np.zeros((64, 64)))
    os.replace(file.with_name("y.npy"), file)
    return array


def changed_in_memory(file):
    np.save(file, np.zeros((64, 64)))
    array = np.load(file, mmap_mode="c")
    array[...] = Z
    return array


SENT = [unnamed, deleted, changed_in_memory]
if sys.platform == "linux":
    SENT.append(replaced)


@pytest.mark.parametrize("make", SENT)
def test_map_whose_file_holds_something_else_is_sent(file, client, make):
    array = make(file)
    source = as_source(array)
    assert not source.shared
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).array, Z)
    np.testing.assert_allclose(dbf.factorize(array, client=client).operator.to_dense(), Z, atol=1e-13)


def test_file_that_is_another_one_on_the_worker_is_refused(file):
    packed = pickle.dumps(as_source(np.load(file, mmap_mode="r")))
    np.save(file, np.zeros((32, 128)))
    with pytest.raises(SourceError, match=r"memmap .*z\.npy was changed or replaced"):
        pickle.loads(packed)
    file.unlink()
    with pytest.raises(SourceError, match=r"memmap .*z\.npy cannot be mapped by a worker: FileNotFoundError"):
        pickle.loads(packed)


def test_without_a_list_of_maps_the_name_is_trusted(file, monkeypatch):
    monkeypatch.setattr(mapped_files, "MAPS", file.with_name("none"))
    assert as_source(np.load(file, mmap_mode="r")).shared


VIEWS = {"whole": lambda a: a, "plain": np.asarray, "part": lambda a: a[3:], "transpose": lambda a: a.T}


@pytest.mark.parametrize("view", VIEWS)
def test_file_that_was_cut_is_named_before_it_is_read(tmp_path, view):
    file = tmp_path / "z.npy"
    np.save(file, np.ones((1024, 1024)))
    array = VIEWS[view](np.load(file, mmap_mode="r"))
    source = as_source(array)
    os.truncate(file, 4096)
    for use in (as_source, dbf.factorize, lambda _: source.read_range(slice(0, 8), slice(0, 8))):
        with pytest.raises(SourceError, match=r"z\.npy has 4096 bytes, but 8388736 are mapped: it was cut"):
            use(array)
