"""The contact sheet: what it shows, what it leaves out, and that no file's name can harm it."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.schema import Size
from scheduler.ledger.session import Ledger
from scheduler.report import selection, thumbnails
from scheduler.report.comparison import CROP, Comparison, compare
from scheduler.report.thumbnails import Thumbnails, Unseen
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from tests.factories import make_rejected, make_row
from tests.pictures import make_pixels, make_tiff, save, srgb_profile
from tests.scheduler.test_report import Photos, failure, make_record, uri
from tests.system.hostile import animation, bomb, corrupt_png, truncated_jpeg

PICTURE = re.compile(r'src="data:image/jpeg;base64,([^"]+)"')
EVIL = "<script>alert(1)</script>\"'&amp;\u202egpj.jpg"


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def decoded(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data), formats=["JPEG"]).convert("RGB")


def enlarged(image: Image.Image, factor: int = 2) -> bytes:
    size = (image.width * factor, image.height * factor)
    return save(image.resize(size, Image.Resampling.LANCZOS), "PNG")


def make_photo(width: int = 400, height: int = 300) -> Image.Image:
    return Image.fromarray(make_pixels(width, height))


class Page(HTMLParser):
    """The tags and texts of a page as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_card_shows_the_same_part_before_and_after(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photo = make_photo()
    photos.add("a.png", save(photo, "PNG"), enlarged(photo))

    html = photos.report(ledger, storage)

    found = [decoded(b64decode(each)) for each in PICTURE.findall(html)]
    before, resampled, after, overview = found
    assert before.size == (CROP // 2, CROP // 2)
    assert resampled.size == after.size == (CROP, CROP)
    assert overview.size == (144, 108)
    shrunk = np.asarray(after.resize(before.size, Image.Resampling.BOX), dtype=float)
    assert np.abs(shrunk - np.asarray(before, dtype=float)).mean() < 4


def test_a_card_has_sizes_seconds_and_a_link_to_the_result(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photo = make_photo(40, 30)
    source, result = save(photo, "PNG"), enlarged(photo)
    photos.add("a b?.png", source, result, custom_id="b-17")

    html = photos.report(ledger, storage).replace("\N{NARROW NO-BREAK SPACE}", " ")

    text = " ".join("".join(Page(html).texts).split())
    assert "40 × 30" in text  # noqa: RUF001 - the sign is meant
    assert "→ 80 × 60" in text  # noqa: RUF001
    assert f"{len(source)} B" in text or f"{len(source) / 1000:.1f} kB" in text
    assert "0.25 s on the device" in text
    assert "id b-17" in text
    assert "./a%20b%3F.png" in Page(html).links


def test_hostile_names_and_messages_stay_text(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photo = make_photo(16, 16)
    photos.add(EVIL.replace("/", "-"), save(photo, "PNG"), enlarged(photo), custom_id=EVIL)
    photos.rows.append(make_row(2, source=f"s3://bucket/{EVIL}", custom_id=EVIL))
    photos.endings[2] = failure(message=f"image_url: {EVIL}", code=EVIL)

    html = photos.report(ledger, storage)

    page = Page(html)
    assert not {"script", "iframe", "link", "object", "base"} & set(page.tags)
    assert "\u202e" not in html
    assert [link for link in page.links if not link.startswith(("data:image/jpeg;", "./"))] == []
    assert any("<script>alert(1)</script>" in text for text in page.texts)
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "name", ["javascript:alert(1).png", "data:text,x.png", "a#b.png", "%2e.png"]
)
def test_a_link_is_always_a_path_below_the_page(
    ledger: Ledger, storage: Storage, photos: Photos, name: str
) -> None:
    photo = make_photo(16, 16)
    photos.add(name, save(photo, "PNG"), enlarged(photo))

    (link,) = (x for x in Page(photos.report(ledger, storage)).links if not x.startswith("data:"))

    assert link.startswith("./")
    assert not set("#?:") & set(link)


def test_a_name_that_is_no_unicode_is_shown_as_well_as_can_be(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photo = make_photo(16, 16)
    photos.add("caf\udce9.png", save(photo, "PNG"), enlarged(photo))

    html = photos.report(ledger, storage)

    assert "caf\N{REPLACEMENT CHARACTER}.png" in html
    assert "./caf%E9.png" in html


def test_failures_are_named_with_their_reasons(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photos.rows = [make_row(1, source=uri(photos.sources) + "/deep/a.jpg"), make_rejected(2)]
    photos.endings[1] = failure()

    texts = Page(photos.report(ledger, storage)).texts

    assert "0 of 2 pictures enlarged" in texts
    for said in ("deep/a.jpg", "image_url: the file is empty (0 bytes)", "line 2", "bad"):
        assert said in texts


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "source could not be decoded", id="empty"),
        pytest.param(b"<html>", "source could not be decoded", id="html"),
        pytest.param(truncated_jpeg(), "pictures could not be decoded", id="truncated"),
        pytest.param(corrupt_png(), "pictures could not be decoded", id="corrupt"),
        pytest.param(bomb(), "too large for this sheet", id="bomb"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", "source could not be decoded", id="postscript"),
        pytest.param(None, "source could not be read: object missing", id="missing"),
    ],
)
def test_a_picture_that_cannot_be_shown_leaves_its_reason(
    ledger: Ledger, storage: Storage, photos: Photos, data: bytes | None, words: str
) -> None:
    photo = make_photo(16, 16)
    photos.add("bad.jpg", data or b"", enlarged(photo))
    photos.add("good.png", save(photo, "PNG"), enlarged(photo))
    if data is None:
        (photos.sources / "bad.jpg").unlink()

    html = photos.report(ledger, storage)

    assert words in html
    assert len(PICTURE.findall(html)) == 4, "the other picture is there"


def test_a_source_that_was_replaced_since_is_not_shown_beside_the_result(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photo = make_photo(16, 16)
    photos.add("a.png", save(photo, "PNG"), enlarged(photo))
    (photos.sources / "a.png").write_bytes(save(make_photo(20, 20), "PNG"))

    assert "source could not be read: object changed" in photos.report(ledger, storage)


def test_a_file_with_too_many_bytes_is_left_out(
    ledger: Ledger, storage: Storage, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(64, 64)
    photos.add("a.png", save(photo, "PNG"), enlarged(photo))
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 1000)

    assert "the source has more than" in photos.report(ledger, storage)


def test_a_result_that_took_its_sources_place_is_not_compared_with_itself(
    ledger: Ledger, storage: Storage, photos: Photos
) -> None:
    photos.sources = photos.results
    photo = make_photo(16, 16)
    photos.add("a.png", save(photo, "PNG"), enlarged(photo))

    assert "took its source&#x27;s place" in photos.report(ledger, storage)


def test_pictures_stop_when_their_time_is_up(
    storage: Storage, photos: Photos, tmp_path: Path
) -> None:
    photo = make_photo(16, 16)
    photos.add("a.png", save(photo, "PNG"), enlarged(photo))
    row = make_record(photos.rows[0], photos.endings[1])

    (late,) = Thumbnails(storage, tmp_path, budget_s=0.0).of([row])
    (seen,) = Thumbnails(storage, tmp_path).of([row])

    assert isinstance(late, Unseen)
    assert isinstance(seen, Comparison)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["photos", "results"]


def test_the_sheet_says_how_many_of_how_many_it_shows(
    ledger: Ledger, storage: Storage, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "PICTURES", 2)
    monkeypatch.setattr(selection, "FAILURES", 1)
    photo = make_photo(16, 16)
    for number in range(3):
        photos.add(f"{number}.png", save(photo, "PNG"), enlarged(photo))
    photos.rows += [make_row(4), make_row(5)]
    photos.endings |= {4: failure(), 5: failure()}

    html = photos.report(ledger, storage)

    assert "the first 2 of 3; results.jsonl has them all" in html
    assert "the first 1 of 2; results.jsonl has them all" in html
    assert len(PICTURE.findall(html)) == 8


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data), formats=list(thumbnails.FORMATS))


def make_modes() -> dict[str, bytes]:
    """Return a picture in every mode that workers read."""
    rgb = make_photo(40, 30)
    clear = Image.fromarray(make_pixels(40, 30, seed=1)).convert("L")
    rgba = rgb.copy()
    rgba.putalpha(clear)
    deep = make_pixels(40, 30, bits=16)
    return {
        "rgb": save(rgb, "PNG", icc_profile=srgb_profile()),
        "rgba": save(rgba, "PNG"),
        "la": save(rgba.convert("LA"), "PNG"),
        "grey": save(rgb.convert("L"), "PNG"),
        "bits": save(rgb.convert("1"), "PNG"),
        "palette": save(rgb.convert("P"), "PNG"),
        "transparent palette": save(rgb.convert("P"), "PNG", transparency=3),
        "cmyk": save(rgb.convert("CMYK"), "JPEG"),
        "grey 16": save(Image.fromarray(deep[..., 0]), "PNG"),
        "tiff 16": make_tiff(deep[..., :1], photometric=1),
        "webp": save(rgb, "WEBP"),
        "gif": save(rgb, "GIF"),
        "bmp": save(rgb, "BMP"),
        "avif": save(rgb, "AVIF"),
        "animation": animation(),
    }


@pytest.mark.parametrize(("name", "data"), make_modes().items())
def test_every_kind_of_picture_can_be_compared(name: str, data: bytes) -> None:
    with opened(data) as before, opened(data) as after:
        seen = compare(before, after)

    assert seen.shown == Size(*decoded(seen.before).size) == Size(*decoded(seen.after).size)
    spread = float(np.asarray(decoded(seen.after), dtype=float).std())
    assert spread > 5, f"{name} came out flat"


def test_sixteen_bits_keep_their_brightness() -> None:
    deep = make_pixels(40, 30, bits=16)[..., 0]
    data = save(Image.fromarray(deep), "PNG")

    with opened(data) as before, opened(data) as after:
        seen = compare(before, after)

    found = np.asarray(decoded(seen.before).convert("L"), dtype=float).mean()
    assert found == pytest.approx(deep.mean() / 257, abs=3)


def test_a_source_is_turned_upright_like_its_result() -> None:
    photo = make_photo(60, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise
    lying = save(photo, "JPEG", exif=exif, quality=95)
    upright = save(photo.transpose(Image.Transpose.ROTATE_270), "PNG")

    with opened(lying) as before, opened(upright) as after:
        seen = compare(before, after)

    one, two = (np.asarray(decoded(x), dtype=float) for x in (seen.before, seen.after))
    assert one.shape == two.shape == (60, 40, 3)
    assert np.abs(one - two).mean() < 6


def test_the_part_that_is_shown_is_where_the_detail_is() -> None:
    pixels = np.full((800, 800, 3), 128, dtype=np.uint8)
    pixels[600:800, 600:800] = np.random.default_rng(0).integers(0, 255, (200, 200, 3))
    photo = Image.fromarray(pixels)

    with opened(save(photo, "PNG")) as before, opened(enlarged(photo)) as after:
        seen = compare(before, after)

    left, top, width, height = seen.frame
    assert (left, top) > (0.7, 0.7)
    assert (left + width, top + height) <= (1.0, 1.0)


@pytest.mark.parametrize("factor", [1 / 3, 1, 1.7, 2, 4])
def test_beside_the_result_stands_what_pillow_makes_of_the_source(factor: float) -> None:
    photo = make_photo()
    size = Size(round(photo.width * factor), round(photo.height * factor))
    result = save(photo.resize(size, Image.Resampling.LANCZOS), "PNG")

    with opened(save(photo, "PNG")) as before, opened(result) as after:
        seen = compare(before, after)

    assert decoded(seen.resampled).size == seen.shown
    one, two = (np.asarray(decoded(x), dtype=float) for x in (seen.resampled, seen.after))
    assert np.abs(one - two).mean() < 0.5


def test_of_detailed_parts_the_one_is_shown_where_the_result_differs_most() -> None:
    photo = make_photo(800, 600)
    result = Image.open(BytesIO(enlarged(photo)))
    spot = (1200, 400, 1400, 600)
    result.paste(ImageOps.invert(result.crop(spot)), spot)

    with opened(save(photo, "PNG")) as before, opened(save(result, "PNG")) as after:
        seen = compare(before, after)

    left, top, width, height = seen.frame
    assert left <= 1200 / 1600 <= left + width
    assert top <= 500 / 1200 <= top + height


@pytest.mark.parametrize("sizes", [((1, 1), (2, 2)), ((1, 900), (2, 1800)), ((900, 600), (90, 60))])
def test_odd_sizes_can_be_compared(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    source, result = (save(make_photo(*size), "PNG") for size in sizes)

    with opened(source) as before, opened(result) as after:
        seen = compare(before, after)

    assert max(seen.shown) <= CROP
    assert max(decoded(seen.before).size) <= CROP
