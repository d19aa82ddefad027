"""Which parts each process has, and what they exchange."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convsmith.errors import ProcessError, RecipeError
from convsmith.training.config import TrainConfig
from convsmith.training.process_group import ALONE, Packer, ProcessGroup
from convsmith.training.shares import check_processes

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@given(st.integers(1, 12), st.integers(1, 8))
def test_the_parts_of_all_processes_are_all_parts_in_order(size: int, parts_each: int) -> None:
    count = size * parts_each
    parts = [part for rank in range(size) for part in ProcessGroup(rank=rank, size=size).own_parts(count)]
    assert parts == list(range(count))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    values = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    tensor = values.to(dtype)
    layout = draw(st.sampled_from(["plain", "channels last", "gaps", "transposed"]))
    if layout == "channels last" and len(shape) == 4:
        return tensor.to(memory_format=torch.channels_last)
    if layout == "gaps" and shape:
        return tensor.repeat_interleave(2, 0)[::2]
    return tensor.transpose(0, -1) if layout == "transposed" and shape else tensor


@given(st.lists(tensors(), min_size=1, max_size=5))
def test_packed_tensors_are_the_same_bits_again(packed: list[Tensor]) -> None:
    packer = Packer(packed)
    row = packer.pack(packed)
    assert row.shape == (packer.num_bytes,)
    assert row.dtype == torch.uint8
    for before, after in zip(packed, packer.unpack(row), strict=True):
        assert torch.equal(before, after)
        assert before.dtype == after.dtype


def test_unpacked_tensors_have_the_layout_of_dense_ones() -> None:
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    packer = Packer([weight])
    (again,) = packer.unpack(packer.pack([weight.contiguous()]))
    assert again.stride() == weight.stride()
    assert torch.equal(again, weight)


def test_special_numbers_keep_their_bits() -> None:
    numbers = torch.tensor([float("nan"), float("-inf"), -0.0, 1e-45])
    packer = Packer([numbers])
    (again,) = packer.unpack(packer.pack([numbers]))
    assert torch.equal(numbers.view(torch.int32), again.view(torch.int32))


def test_a_single_process_exchanges_nothing() -> None:
    rows = torch.arange(6.0).view(2, 3)
    assert ALONE.gather(rows) is rows
    assert ALONE.maximum(3) == 3
    assert ALONE.text_of_main("runs/digits-1") == "runs/digits-1"
    assert ALONE.lines() == []
    with ALONE.one_first():
        ALONE.check_equal({"seed": "0"})


def config(batch_size: int = 128, microbatch_size: int | None = None, **fields: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"epochs": 1, "batch_size": batch_size, "microbatch_size": microbatch_size, **fields}
    )


@pytest.mark.parametrize(
    ("batch_size", "microbatch_size", "processes", "found", "fix"),
    [
        (128, None, 2, "one part", "set train.microbatch_size=64 (batch_size 128)"),
        (128, None, 3, "one part", "set a train.batch_size that is a multiple of 6"),
        (96, None, 3, "one part", "set train.microbatch_size=32 (batch_size 96)"),
        (128, 32, 3, "4 parts", "start 2 or 4 processes, or set a train.batch_size"),
        (256, 128, 4, "2 parts", "start 2 processes, or set train.microbatch_size=64"),
    ],
)
def test_parts_that_cannot_be_shared_out_are_refused(
    batch_size: int, microbatch_size: int | None, processes: int, found: str, fix: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_processes(config(batch_size, microbatch_size), processes)
    (problem,) = caught.value.problems
    assert f"divides a batch into {found}, which {processes} processes" in problem.what
    assert problem.fix.startswith(fix)


@given(st.integers(1, 64), st.integers(1, 8), st.integers(2, 9))
def test_the_size_of_the_fix_can_be_shared_out(parts: int, images: int, processes: int) -> None:
    """Whatever size an error names, the recipe with it is accepted."""
    size = 2 * images
    try:
        check_processes(config(parts * size, size), processes)
    except RecipeError as error:
        if named := re.search(r"microbatch_size=(\d+) ", error.problems[0].fix):
            check_processes(config(parts * size, int(named[1])), processes)
        for count in re.findall(r"start ([\d or]+) processes", error.problems[0].fix):
            for number in re.findall(r"\d+", count):
                check_processes(config(parts * size, size), int(number))
    else:
        assert parts % processes == 0


def test_a_compiled_net_has_one_process() -> None:
    with pytest.raises(RecipeError, match="a compiled net is trained by one process"):
        check_processes(config(128, 64, compile=True), 2)
    check_processes(config(128, None, compile=True), 1)


def test_lost_processes_are_an_error_with_a_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]:4711\n#0 ...")

    monkeypatch.setattr("convsmith.training.process_group._all_gather", broken)
    with pytest.raises(ProcessError) as caught:
        ProcessGroup(rank=1, size=2, backend="gloo").gather(torch.zeros(1, 2))
    (problem,) = caught.value.problems
    assert problem.what.endswith("has ended: Connection closed by peer [127.0.0.1]:4711")
    assert problem.where == "process 1"
    assert "convsmith resume RUN" in problem.fix


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_with_other_data_is_named(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three processes has another fingerprint: every process gets the same error."""
    own = {"seed": "0", "data.fingerprint": "abc"}
    others = [own, {**own, "data.fingerprint": "xyz"}, own]
    rows = []

    def record(self: ProcessGroup, row: Tensor) -> Tensor:
        rows.append(row)
        return row.expand(3, -1)

    monkeypatch.setattr(ProcessGroup, "gather", record)
    for values in others:
        ProcessGroup(rank=rank, size=3, backend="gloo").check_equal(values)
    monkeypatch.setattr(ProcessGroup, "gather", lambda self, row: torch.cat(rows))
    with pytest.raises(ProcessError) as caught:
        ProcessGroup(rank=rank, size=3, backend="gloo").check_equal(own)
    assert caught.value.problems[0].what == "the data.fingerprint of process 1 differs from that of process 0"
