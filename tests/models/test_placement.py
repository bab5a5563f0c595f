"""Blocks that visit a device compute what they compute at home, in two blocks' worth of memory."""

import pytest
import torch
from torch import Tensor, nn

from models.placement import (
    BlockStream,
    StraightLane,
    Visitor,
    move,
    resting_place,
    stream_blocks,
    visitor_to,
)

CPU = torch.device("cpu")


class LateLane:
    """A device that is always behind: nothing is copied before somebody waits for it.

    It knows which computation used a buffer last, and refuses to have it overwritten earlier.
    """

    def __init__(self) -> None:
        self.sent: list[int] = []
        self._marks = 0
        self._used: dict[int, int] = {}
        self._target = 0

    def mark(self) -> int:
        self._marks += 1
        self._used[self._target] = self._marks
        return self._marks

    def send(self, source: Tensor, target: Tensor, *, after: int | None) -> list:
        assert after == self._used.get(target.data_ptr()), "its last computation may still run"
        self.sent.append(source.data_ptr())
        return [source, target]

    def wait(self, mark: list) -> None:
        source, target = mark
        target.copy_(source)
        self._target = target.data_ptr()


class Network(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.before = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8 + index), nn.GELU(), nn.Linear(8 + index, 8))
            for index in range(depth)
        )
        self.register_buffer("scale", torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x) * self.scale
        for block in self.blocks:
            x = x + block(x)
        return x


def network(depth: int) -> Network:
    torch.manual_seed(depth)
    return Network(depth).requires_grad_(requires_grad=False)


@pytest.mark.parametrize("lane", [StraightLane, LateLane])
@pytest.mark.parametrize("depth", [1, 2, 3, 6, 7])
@torch.inference_mode()
def test_blocks_that_visit_compute_what_they_compute_at_home(lane, depth):
    pictures = [torch.randn(4, 6) for _ in range(3)]
    ordinary = network(depth)
    expected = [ordinary(picture) for picture in pictures]
    visiting = network(depth)

    BlockStream(visiting.blocks, CPU, lane())

    for picture, result in zip(pictures, expected, strict=True):
        torch.testing.assert_close(visiting(picture), result, rtol=0, atol=0)


def test_each_block_is_copied_once_a_picture_and_the_next_ones_first_meanwhile():
    visiting, lane = network(4), LateLane()
    BlockStream(visiting.blocks, CPU, lane)
    order = [block[0].weight.data_ptr() for block in visiting.blocks]

    visiting(torch.randn(1, 6))

    assert lane.sent == [*order, order[0]]


def test_a_block_that_is_called_for_several_pictures_in_turn_comes_once():
    visiting, lane = network(3), LateLane()
    expected = [network(3)(picture) for picture in torch.eye(2, 6).split(1)]
    BlockStream(visiting.blocks, CPU, lane)

    read = [visiting.before(picture) * visiting.scale for picture in torch.eye(2, 6).split(1)]
    for block in visiting.blocks:
        read = [each + block(each) for each in read]

    assert len(lane.sent) == 3 + 1
    torch.testing.assert_close(read, expected, rtol=0, atol=0)


def test_no_more_than_two_rooms_are_used():
    visiting = network(6)
    BlockStream(visiting.blocks, CPU, StraightLane())
    homes = {block[0].weight.data_ptr() for block in visiting.blocks}
    rooms = set()
    for block in visiting.blocks:
        block[0].register_forward_hook(lambda module, *_: rooms.add(module.weight.data_ptr()))

    visiting(torch.randn(1, 6))

    assert len(rooms) == 2
    assert rooms.isdisjoint(homes)
    assert {block[0].weight.data_ptr() for block in visiting.blocks} == homes


def test_a_picture_that_is_given_up_half_way_does_not_spoil_the_next():
    picture, visiting = torch.randn(1, 6), network(5)
    expected = network(5)(picture)
    BlockStream(visiting.blocks, CPU, LateLane())

    for fails in range(5):
        hook = visiting.blocks[fails][2].register_forward_pre_hook(_fail)
        with pytest.raises(KeyboardInterrupt):
            visiting(picture)
        hook.remove()

        torch.testing.assert_close(visiting(picture), expected, rtol=0, atol=0)


def test_only_blocks_are_given_rooms():
    placed = network(3)
    before = placed.before.weight.data_ptr()

    stream_blocks(placed, placed.blocks, CPU)

    assert placed.before.weight.data_ptr() == before
    torch.testing.assert_close(placed(torch.ones(1, 6)), network(3)(torch.ones(1, 6)))


@torch.inference_mode()
def test_a_visitor_goes_home_again_and_what_it_shares_stays_shared():
    visiting, picture = network(2), torch.randn(1, 6)
    visiting.blocks[1] = visiting.blocks[0]
    expected, homes = visiting(picture), [each.data_ptr() for each in visiting.parameters()]

    with Visitor(visiting, torch.clone).here():
        there = [each.data_ptr() for each in visiting.parameters()]
        found = visiting(picture)

    assert set(there).isdisjoint(homes)
    assert visiting.blocks[1][0].weight is visiting.blocks[0][0].weight
    assert [each.data_ptr() for each in visiting.parameters()] == homes
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_visitor_for_whom_there_is_no_room_goes_home():
    visiting, room = network(2), iter(range(3))
    homes = [each.data_ptr() for each in visiting.parameters()]

    def bring(home: Tensor) -> Tensor:
        if next(room, None) is None:
            raise torch.OutOfMemoryError
        return home.clone()

    with pytest.raises(torch.OutOfMemoryError), Visitor(visiting, bring).here():
        pass

    assert [each.data_ptr() for each in visiting.parameters()] == homes


def test_pictures_rest_where_there_is_only_one_place():
    assert resting_place(2**60, CPU) == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_blocks_visit_a_real_device():
    picture, visiting = torch.randn(4, 6).cuda(), network(7)
    expected = network(7).cuda()(picture)

    stream_blocks(visiting, visiting.blocks, picture.device)

    for _ in range(3):
        torch.testing.assert_close(visiting(picture), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_a_network_visits_a_real_device():
    picture, visiting = torch.randn(4, 6).cuda(), network(3)
    expected = network(3).cuda()(picture)
    visitor = visitor_to(picture.device, visiting)

    for _ in range(3):
        with visitor.here():
            torch.testing.assert_close(visiting(picture), expected)
        assert not visiting.before.weight.is_cuda


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_waits_on_the_host_and_comes_back_to_a_real_device():
    waiting = network(3).cuda()
    before = [each.clone() for each in waiting.parameters()]

    with torch.inference_mode():
        move((waiting,), "cpu")
        assert not waiting.before.weight.is_cuda
        move((waiting,), "cuda")
    waiting.before.weight.data.mul_(1)  # as LoRAs do, which may come outside of inference

    assert all(map(torch.equal, waiting.parameters(), before))


def _fail(*_):
    raise KeyboardInterrupt
