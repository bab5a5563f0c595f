import pytest
import torch

from models.diffusion.noise import RecordedNoise, SeededNoise


def test_a_seed_gives_the_same_numbers_again():
    first, second = (SeededNoise(torch.Generator().manual_seed(7)) for _ in range(2))

    assert torch.equal(first.draw(2, 3), second.draw(2, 3))
    assert not torch.equal(first.draw(2, 3), first.draw(2, 3))


def test_a_recording_is_handed_out_in_order():
    tensors = torch.ones(2), torch.zeros(3)
    noise = RecordedNoise(tensors)

    assert torch.equal(noise.draw(2), tensors[0])
    assert torch.equal(noise.draw(3), tensors[1])


def test_a_recording_of_another_shape_is_no_answer():
    with pytest.raises(ValueError, match=r"\(2,\) was recorded where \(3,\) is asked for"):
        RecordedNoise([torch.ones(2)]).draw(3)
