"""How frozen models compute: inference only, on a set number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def computing(threads: int) -> Iterator[None]:
    """Inference only, on ``threads`` threads; the process's own number is put back, others may compute beside us."""
    import torch  # noqa: PLC0415 - seconds, paid only where something is encoded

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)
