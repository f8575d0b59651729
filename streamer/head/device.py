"""Where torch computes: whether a device is there, before anything depends on it."""

from __future__ import annotations

CPU = "cpu"


class DeviceUnavailable(Exception):  # noqa: N818 - says what is the case, as the message does
    """The configured device cannot compute; the message says what was found and what to do."""


def require_device(name: str) -> None:
    """Returns where ``head.device`` can compute; the CPU always can, and nothing is imported to say so.

    Raises:
        DeviceUnavailable: torch knows no such device, or cannot compute on it.
    """
    if name == CPU:
        return
    import torch  # noqa: PLC0415 - seconds, paid only where another device is asked for

    try:
        torch.ones(1, device=name).add(1.0).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # builds without CUDA assert
        why = str(error).partition("\n")[0].rstrip(".")
        message = (
            f"head.device is {name!r}, and torch {torch.__version__} cannot compute there: {type(error).__name__}: {why}. Found: "
            f"{', '.join(devices())}. Set head.device (STREAMER_HEAD__DEVICE) to one of these, or install the driver and the build of "
            "torch that the device needs"
        )
        raise DeviceUnavailable(message) from error


def devices() -> list[str]:
    """The devices that torch can compute on here: the CPU, and those of its accelerator."""
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        return [CPU]
    return [CPU, *(f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count()))]
