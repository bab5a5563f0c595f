import errno
import os
import tempfile
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import errors
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage, walk
from scheduler.storage.address import file_address
from scheduler.storage.file_errors import file_errors

NAMES = st.text(
    st.sampled_from("ab-/.0Z\u00e9 ").filter(lambda letter: letter != "/"), min_size=1, max_size=6
).filter(lambda name: not name.startswith("."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@pytest.fixture
def storage() -> Storage:
    return open_storage(Settings())


def at(path: Path) -> str:
    return str(file_address(str(path)))


def content(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def listed(storage: Storage, folder: Path, *, after: str | None = None) -> list[str]:
    return [info.address for info in storage.list(at(folder), after=after)]


def test_what_is_written_can_be_read(storage, tmp_path):
    address = at(tmp_path / "new folder" / "é ?#%.jpg")

    stored = storage.write(address, b"bytes", content_type="image/jpeg")

    assert stored.checksum == f"crc32:{zlib.crc32(b'bytes'):08x}"
    blob = storage.read(address, max_bytes=5)
    assert (blob.data, blob.etag) == (b"bytes", stored.etag)
    info = storage.stat(address)
    assert (info.address, info.size, info.etag) == (address, 5, stored.etag)
    assert info.modified.tzinfo is not None


def test_a_write_replaces_the_file_and_leaves_nothing_else(storage, tmp_path):
    address = at(tmp_path / "a.jpg")
    storage.write(address, b"old", content_type="image/jpeg")

    storage.write(address, b"new", content_type="image/jpeg")

    assert content(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"new"


def test_a_new_file_has_the_permissions_that_the_user_asks_of_new_files(storage, tmp_path):
    before = os.umask(0o027)
    try:
        storage.write(at(tmp_path / "a.jpg"), b"x", content_type="image/jpeg")
    finally:
        os.umask(before)

    assert (tmp_path / "a.jpg").stat().st_mode & 0o777 == 0o640


def test_a_name_as_long_as_the_file_system_allows_can_be_written(storage, tmp_path):
    storage.write(at(tmp_path / ("n" * 255)), b"x", content_type="image/jpeg")

    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"


def test_a_longer_name_is_the_requests_fault(storage, tmp_path):
    with pytest.raises(errors.AddressInvalid, match="shorten"):
        storage.write(at(tmp_path / ("n" * 256)), b"x", content_type="image/jpeg")

    assert content(tmp_path) == []


def test_only_if_absent_keeps_what_is_there(storage, tmp_path):
    address = at(tmp_path / "a.jpg")
    storage.write(address, b"first", content_type="image/jpeg", only_if_absent=True)

    with pytest.raises(errors.ObjectExists):
        storage.write(address, b"second", content_type="image/jpeg", only_if_absent=True)

    assert storage.read(address, max_bytes=9).data == b"first"
    assert content(tmp_path) == ["a.jpg"]


def test_of_many_writers_only_if_absent_exactly_one_wins(storage, tmp_path):
    start, won = threading.Barrier(8), []

    def write(data: bytes) -> None:
        start.wait()
        try:
            storage.write(at(tmp_path / "a"), data, content_type="x/y", only_if_absent=True)
            won.append(data)
        except errors.ObjectExists:
            pass

    threads = [threading.Thread(target=write, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert (tmp_path / "a").read_bytes() == won[0]


def test_a_large_file_is_stored_from_a_file(storage, tmp_path):
    (tmp_path / "report").write_bytes(b"0123456789" * 300_000)

    stored = storage.write_file(
        at(tmp_path / "out/report"), tmp_path / "report", content_type="text/plain"
    )

    assert stored.size == 3_000_000
    assert (tmp_path / "out/report").read_bytes() == (tmp_path / "report").read_bytes()


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "below a file"])
def test_what_is_no_file_is_missing(storage, tmp_path, kind):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    path = tmp_path / ("file/x" if kind == "below a file" else kind)

    with pytest.raises(errors.ObjectMissing):
        storage.read(at(path), max_bytes=1)
    with pytest.raises(errors.ObjectMissing):
        storage.stat(at(path))
    with pytest.raises(errors.ObjectMissing):
        storage.open(at(path))


def test_more_bytes_than_the_limit_are_not_read(storage, tmp_path):
    (tmp_path / "a").write_bytes(b"12345")

    with pytest.raises(errors.ObjectTooLarge, match="5 bytes are too many; the limit is 4"):
        storage.read(at(tmp_path / "a"), max_bytes=4)


def test_a_stream_begins_where_it_is_told_and_yields_lines(storage, tmp_path):
    (tmp_path / "a").write_bytes(b"one\ntwo\nthree")

    with storage.open(at(tmp_path / "a"), start=4) as stream:
        assert list(stream) == [b"two\n", b"three"]
    with storage.open(at(tmp_path / "a"), start=13) as stream:
        assert stream.read() == b""


def test_other_bytes_than_those_asked_for_are_refused(storage, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    etag = storage.stat(at(tmp_path / "a")).etag
    (tmp_path / "a").write_bytes(b"newer")

    with pytest.raises(errors.ObjectChanged):
        storage.read(at(tmp_path / "a"), max_bytes=9, etag=etag)


def test_a_file_that_grows_while_it_is_read_is_noticed(storage, tmp_path):
    (tmp_path / "a").write_bytes(b"one\n")

    with storage.open(at(tmp_path / "a")) as stream:
        stream.readline()
        with (tmp_path / "a").open("ab") as file:
            file.write(b"two\n")

        with pytest.raises(errors.ObjectChanged):
            stream.read()


def test_a_version_of_a_file_is_refused(storage, tmp_path):
    with pytest.raises(errors.AddressInvalid, match="no versions"):
        storage.read(at(tmp_path / "a"), max_bytes=1, version="1")


def test_deleting_twice_is_no_error(storage, tmp_path):
    (tmp_path / "a").touch()

    storage.delete(at(tmp_path / "a"))
    storage.delete(at(tmp_path / "a"))

    assert content(tmp_path) == []


def test_a_result_may_not_leave_its_folder_through_a_link(storage, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(errors.AddressInvalid, match="lies outside"):
        storage.write(
            at(tmp_path / "out/link/sub/a.jpg"),
            b"x",
            content_type="x/y",
            within=at(tmp_path / "out"),
        )

    assert content(tmp_path / "elsewhere") == []


def test_a_result_may_not_lie_beside_its_folder(storage, tmp_path):
    with pytest.raises(errors.AddressInvalid, match="lies outside"):
        storage.write(
            at(tmp_path / "output/a"), b"x", content_type="x/y", within=at(tmp_path / "out")
        )


def test_a_destination_that_is_itself_a_link_is_followed(storage, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")

    storage.write(at(tmp_path / "out/x/a"), b"x", content_type="x/y", within=at(tmp_path / "out"))

    assert (tmp_path / "disk/x/a").read_bytes() == b"x"


def test_a_link_in_the_place_of_a_result_is_replaced_not_followed(storage, tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "precious")

    storage.write(at(tmp_path / "out/a"), b"x", content_type="x/y", within=at(tmp_path / "out"))

    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "out/a").read_bytes() == b"x"


def test_one_file_under_two_names_is_the_same_object(storage, tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "b").touch()

    assert storage.is_same_object(at(tmp_path / "a"), at(tmp_path / "link"))
    assert storage.is_same_object(at(tmp_path / "none"), at(tmp_path / "none"))
    assert not storage.is_same_object(at(tmp_path / "a"), at(tmp_path / "b"))
    assert not storage.is_same_object(at(tmp_path / "a"), at(tmp_path / "none"))
    assert not storage.is_same_object("s3://b/a", "s3://b/c")


def test_a_folder_where_a_result_should_be_is_the_requests_fault(storage, tmp_path):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(errors.AddressInvalid, match="rename"):
        storage.write(at(tmp_path / "a.png"), b"x", content_type="x/y")
    with pytest.raises(errors.AddressInvalid, match="rename"):
        storage.write(at(tmp_path / "file/b.png"), b"x", content_type="x/y")

    assert content(tmp_path) == ["a.png", "file"]


def test_a_writable_folder_is_made_and_left_empty_by_the_check(storage, tmp_path):
    storage.check_writable(at(tmp_path / "new/out"))

    assert content(tmp_path / "new/out") == []


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs Linux's /sys")
def test_a_destination_that_refuses_writes_is_named_with_a_remedy(storage):
    with pytest.raises(errors.DestinationUnwritable, match="name another destination") as caught:
        storage.check_writable("file:///sys/enlarger/out")

    assert caught.value.field == "destination"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, errors.StorageUnavailable),
        (errno.EIO, errors.StorageUnavailable),
        (errno.ESTALE, errors.StorageUnavailable),
        (errno.EACCES, errors.AccessDenied),
        (errno.EROFS, errors.AccessDenied),
        (errno.ENOENT, errors.ObjectMissing),
        (errno.ENAMETOOLONG, errors.AddressInvalid),
    ],
)
def test_operating_system_errors_have_their_kind(number, error):
    with pytest.raises(error), file_errors(file_address("/a")):
        raise OSError(number, os.strerror(number))


def test_a_listing_goes_into_folders_and_has_the_order_of_the_whole_names(storage, tmp_path):
    for name in ("a/x", "a-b", "a0", "B", "a/c/d", "\u00e9"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert listed(storage, tmp_path) == [
        at(tmp_path / name) for name in ("B", "a-b", "a/c/d", "a/x", "a0", "\u00e9")
    ]


def test_a_listing_skips_hidden_names_and_what_leads_out_of_the_folder(storage, tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "sub").mkdir(parents=True)
    (inside / ".hidden").mkdir()
    outside.mkdir()
    for file in (
        inside / "a",
        inside / "sub/b",
        inside / ".hidden/c",
        inside / ".d",
        outside / "e",
    ):
        file.touch()
    (inside / "kept").symlink_to(inside / "a")
    (inside / "gone").symlink_to(inside / "nowhere")
    (inside / "escape").symlink_to(outside / "e")
    (inside / "escape folder").symlink_to(outside)
    (inside / "circle").symlink_to(inside)

    found = listed(storage, inside)

    assert found == [at(inside / name) for name in ("a", "kept", "sub/b")]


def test_a_listing_goes_deeper_than_python_calls_may(storage, tmp_path):
    folders = [f"{tmp_path}{'/d' * depth}" for depth in range(1, 1200)]
    for folder in folders:
        os.mkdir(folder)  # noqa: PTH102 - a `Path` of each would take seconds
    picture = f"{folders[-1]}/x.png"
    Path(picture).touch()
    try:
        names = [info.address for info in storage.list(tmp_path.as_uri())]
    finally:
        Path(picture).unlink()
        for folder in reversed(folders):  # what removes folders for pytest is recursive
            os.rmdir(folder)  # noqa: PTH106

    assert names == [f"file://{picture}"]


def test_a_missing_folder_cannot_be_listed(storage, tmp_path):
    with pytest.raises(errors.ObjectMissing):
        listed(storage, tmp_path / "none")


@settings(max_examples=40, deadline=None)
@given(st.sets(PATHS, max_size=12), st.integers(1, 4))
def test_a_listing_goes_on_behind_any_name_whatever_the_page_size(names, page):
    storage = open_storage(Settings())
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as made_folder:
        folder = Path(made_folder)
        patch.setattr(walk, "NAMES_AT_ONCE", page)
        made = set()
        for name in sorted(names):
            if not any(name.startswith(other + "/") for other in made):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                if not (folder / name).is_dir():
                    (folder / name).touch()
                    made.add(name)

        whole = listed(storage, folder)

        assert whole == [at(folder / name) for name in sorted(made, key=os.fsencode)]
        for index, address in enumerate(whole):
            assert listed(storage, folder, after=address) == whole[index + 1 :]


def test_a_listing_of_a_large_folder_holds_one_page_of_names(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "NAMES_AT_ONCE", 1000)
    for number in range(20_000):
        os.close(os.open(tmp_path / f"{number:06}.jpg", os.O_CREAT))

    tracemalloc.start()
    count = sum(1 for _ in storage.list(at(tmp_path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 20_000
    assert peak < 1_500_000


def test_a_copy_has_the_bytes_of_what_was_written_before(storage, tmp_path):
    known = storage.write(at(tmp_path / "a.png"), b"result", content_type="image/png")

    copied = storage.copy(
        at(tmp_path / "a.png"), at(tmp_path / "new/b.png"), known=known, content_type="image/png"
    )

    assert (tmp_path / "new/b.png").read_bytes() == b"result"
    assert (copied.checksum, copied.size) == (known.checksum, 6)
    assert copied.etag == storage.stat(at(tmp_path / "new/b.png")).etag


@pytest.mark.parametrize("change", ["gone", "written anew", "other bytes at the same time"])
def test_only_what_was_written_is_copied(storage, tmp_path, change):
    path, error = tmp_path / "a.png", errors.ObjectChanged
    known = storage.write(at(path), b"result", content_type="image/png")
    stamp = path.stat().st_mtime_ns
    if change == "gone":
        path.unlink()
        error = errors.ObjectMissing
    else:
        path.write_bytes(b"tluser")
        stamp += change == "written anew"
        os.utime(path, ns=(stamp, stamp))

    with pytest.raises(error):
        storage.copy(at(path), at(tmp_path / "out/b.png"), known=known, content_type="image/png")

    assert not (tmp_path / "out/b.png").exists()


def test_a_copy_does_not_leave_its_folder_by_a_link(storage, tmp_path):
    known = storage.write(at(tmp_path / "a.png"), b"result", content_type="image/png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path)

    with pytest.raises(errors.AddressInvalid):
        storage.copy(
            at(tmp_path / "a.png"),
            at(tmp_path / "in/link/b.png"),
            known=known,
            content_type="image/png",
            within=at(tmp_path / "in"),
        )


def test_a_fenced_storage_reaches_only_its_places_and_connects_no_second_time(storage, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "b")
    fenced = storage.fenced([(tmp_path / "in").as_uri(), "s3://bucket/in/"])

    assert fenced.read((tmp_path / "in" / "a").as_uri(), max_bytes=9).data == b"a"
    for outside in (
        (tmp_path / "b").as_uri(),
        (tmp_path / "in" / "link").as_uri(),
        (tmp_path / "in-2" / "a").as_uri(),
        "s3://bucket/inside/a",
        "s3://other/in/a",
    ):
        with pytest.raises(errors.PlaceForbidden):
            fenced.read(outside, max_bytes=9)
        with pytest.raises(errors.PlaceForbidden):
            fenced.write(outside, b"x", content_type="text/plain")
    assert fenced._stores is storage._stores
