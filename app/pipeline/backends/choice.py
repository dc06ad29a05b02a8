"""Which backend computes, and on which devices."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import torch

from ..errors import BackendError
from ..network import ChestNetwork
from .protocol import Backend
from .torch_cpu import TorchCpu
from .torch_cuda import TorchCuda

BACKENDS: Final = ("auto", "torch", "openvino")


def choose_backends(network: ChestNetwork, backend: str, device: str, *, max_batch: int, threads: int) -> list[Backend]:
    """One backend for each device. None is proven yet: ``Screener.require_golden`` does that.

    Parameters
    ----------
    backend : str
        ``torch``, ``openvino``, or ``auto``: torch on GPUs; on the CPU OpenVINO if it is installed, otherwise torch.
    device : str
        ``cpu``, one or several GPUs (``cuda:0,cuda:1``), or ``auto``: every GPU, or the CPU if there is none.
    threads : int
        For the CPU; 0 for as many as torch would take: the cores that the process may use, or OMP_NUM_THREADS.

    Raises
    ------
    BackendError
        A named backend or device is not there, or cannot start. Nothing else takes its place.
    """
    if backend not in BACKENDS:
        raise BackendError(f"backend '{backend}' is not one of {', '.join(BACKENDS)}")
    devices = _devices("cpu" if (backend, device) == ("openvino", "auto") else device)
    if threads:
        torch.set_num_threads(threads)
    return [_backend(network, backend, chosen, max_batch) for chosen in devices]


def torch_backend(network: ChestNetwork, device: torch.device, max_batch: int = 8) -> Backend:
    """The torch backend of a device."""
    if device.type == "cuda":
        return TorchCuda(network, _indexed(device), max_batch)
    return TorchCpu(network)


def choose_device(name: str) -> torch.device:
    """``auto`` takes the GPU if there is one; a device that was named and is absent is an error.

    Raises
    ------
    BackendError
        The named device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"device '{name}' is not known; say auto, cpu, cuda, or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise BackendError(f"device '{name}' is not served; say auto, cpu, cuda, or cuda:0")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise BackendError(f"device '{name}' is set, but no GPU can be used here; set cpu, or repair the driver")
        if _indexed(device).index >= torch.cuda.device_count():
            raise BackendError(f"device '{name}' is set, but this machine has {torch.cuda.device_count()} GPUs")
    return device


def _devices(names: str) -> list[torch.device]:
    if names == "auto" and torch.cuda.is_available():
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    devices = [choose_device(name.strip()) for name in names.split(",")]
    devices = [_indexed(device) if device.type == "cuda" else device for device in devices]
    if len(set(devices)) < len(devices):
        raise BackendError(f"devices '{names}' name one twice")
    return devices


def _indexed(device: torch.device) -> torch.device:
    return torch.device("cuda", device.index or 0)


def _backend(network: ChestNetwork, name: str, device: torch.device, max_batch: int) -> Backend:
    installed = find_spec("openvino") is not None
    if name == "torch" or (name == "auto" and (device.type == "cuda" or not installed)):
        try:
            return torch_backend(network, device, max_batch)
        except RuntimeError as error:
            raise BackendError(f"torch cannot start on {device}: {error}") from error
    if device.type != "cpu":
        raise BackendError(f"OpenVINO computes on the CPU here, not on {device}; say CXR_BACKEND=torch")
    if not installed:
        raise BackendError("CXR_BACKEND=openvino is set, but OpenVINO is not installed; install cxr-gate[openvino]")
    from .openvino_cpu import OpenVinoCpu  # an extra

    try:
        return OpenVinoCpu(network, torch.get_num_threads())
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot start: {error}") from error
