"""Where bfloat16 is used."""

from __future__ import annotations

import pytest
import torch

from offline.training.optimisation import autocast


@pytest.mark.parametrize("able", [{"avx512_bf16": True}, {"amx_bf16": True, "avx512_bf16": False}, {"bf16": True}])
def test_bfloat16_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch, able: dict[str, bool]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    layer, images = torch.nn.Linear(2, 2), torch.rand(1, 2)
    for precision, expected in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        with autocast(torch.device("cpu"), precision):
            assert layer(images).dtype == expected


def test_float32_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    with autocast(torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.rand(1, 2)).dtype == torch.float32
