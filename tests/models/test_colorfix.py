import pytest
import torch

from models import colorfix


def make_pair(height: int = 40, width: int = 56) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, height, width) * 2 - 1
    return picture, (picture * 0.5 + 0.2).flip(3)


@pytest.mark.parametrize("fix", [colorfix.wavelet, colorfix.adain, colorfix.lab])
def test_a_picture_with_the_right_colours_stays_as_it_is(fix):
    picture, _ = make_pair()

    torch.testing.assert_close(fix(picture, picture), picture, atol=2e-4, rtol=0)


@pytest.mark.parametrize("fix", [colorfix.wavelet, colorfix.adain, colorfix.lab])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (40, 56)])
def test_pictures_of_any_size_and_dtype_are_worked_on_in_float32(fix, size):
    picture, source = make_pair(*size)

    fixed = fix(picture.bfloat16(), source)

    assert fixed.dtype == torch.float32
    assert fixed.shape == picture.shape
    assert fixed.isfinite().all()


def test_a_cast_over_the_whole_picture_is_taken_off():
    picture, _ = make_pair()
    cast = picture + torch.tensor([0.3, -0.2, 0.1]).view(3, 1, 1)

    torch.testing.assert_close(colorfix.wavelet(cast, picture), picture, atol=1e-5, rtol=0)


def test_details_stay_the_pictures_own():
    picture, source = make_pair()

    fixed = colorfix.wavelet(picture, source)

    details = fixed - colorfix.blurred(source)
    torch.testing.assert_close(details, picture - colorfix.blurred(picture), atol=1e-5, rtol=0)


def test_channels_get_the_mean_and_deviation_of_the_source():
    picture, source = make_pair()

    fixed = colorfix.adain(picture, source)

    torch.testing.assert_close(fixed.mean((2, 3)), source.mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(fixed.std((2, 3)), source.std((2, 3)), atol=1e-4, rtol=0)


def test_hues_get_the_distribution_of_the_source():
    picture, source = make_pair()

    matched = colorfix.match_ranks(picture, source)

    assert torch.equal(matched.flatten(2).sort().values, source.flatten(2).sort().values)
    order = picture.flatten(2).argsort()
    assert torch.equal(matched.flatten(2).gather(2, order), source.flatten(2).sort().values)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((-1, -1, -1), (0, 0, 0)),
        ((1, -1, -1), (53.24, 80.09, 67.20)),  # sRGB's red
        ((-1, -1, 1), (32.30, 79.19, -107.86)),  # its blue
    ],
)
def test_known_colours_have_their_lab_values(rgb, lab):
    picture = torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)

    values = colorfix.to_lab(picture)

    torch.testing.assert_close(values.flatten(), torch.tensor(lab).float(), atol=2e-2, rtol=0)
    torch.testing.assert_close(colorfix.from_lab(values), picture, atol=1e-3, rtol=0)
