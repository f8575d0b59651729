"""How kernels are compiled: without the GIL, cached on disk, the cache keyed by the sources.

Numba does not recompile a caller when a callee in another file changes, so the folder of the cache carries a hash of every
source file: after any change all kernels are compiled anew, once. Kernels whose indices are checked (``NUMBA_BOUNDSCHECK=1``) have a
folder of their own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import scipy.linalg.cython_blas  # noqa: F401 - loaded before its number of threads is bounded
from numba.core import config as numba_config

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_PACKAGE = Path(__file__).resolve().parent.parent
_CALLERS = (
    "engine/engine.py",
    "engine/bounds.py",
    "engine/evict.py",
    "engine/warm.py",
    "engine/exposed.py",
    "engine/freezing.py",
    "catalog/belonging.py",
    "catalog/vectors.py",
    "ranking/exposure.py",
    "head/device.py",
    "head/torch_gradient.py",
    "ranking/catalog_scores.py",
)
"""Files that only call kernels: what they say changes none."""
_ROOMS = ("tables", "windows", "catalog", "signals", "head", "ranking", "engine")


def cache_folder() -> Path:
    """The folder of compiled kernels that belong to the sources as they are: beside them, or a copy where that is read-only."""
    digest = hashlib.sha256((_PACKAGE / "events" / "model.py").read_bytes())  # codes of event types are compiled in
    for room in _ROOMS:
        for path in sorted((_PACKAGE / room).glob("*.py")):
            if path.relative_to(_PACKAGE).as_posix() not in _CALLERS:
                digest.update(path.read_bytes())
    checked = "-checked" if numba_config.BOUNDSCHECK else ""
    name = f"numba-{digest.hexdigest()[:16]}{checked}"
    return writable(_PACKAGE / "__pycache__" / name, Path(tempfile.gettempdir()) / f"streamer-{os.getuid()}")


def writable(ours: Path, spare: Path) -> Path:
    """``ours``, made if it is not there; where this process may not write to it, a copy of it under ``spare``.

    Numba uses no cache that it may not write to, and without any it compiles nothing; what an image or a package brought along would
    be of no use to a user without rights. Raises OSError where ``spare`` is another user's: its kernels would run as ours.
    """
    try:
        ours.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=ours).close()
    except OSError:
        spare.mkdir(mode=0o700, exist_ok=True)
        if spare.stat().st_uid != os.getuid():
            raise PermissionError(
                f"{spare}, for compiled kernels, is another user's: remove it, or set TMPDIR to a folder of your own"
            ) from None
        return _copied(ours, spare / ours.name)
    return ours


def _copied(ours: Path, copy: Path) -> Path:
    """The copy, which appears whole; where two processes make it at once, the first one's stays."""
    if copy.is_dir():
        return copy
    made = Path(tempfile.mkdtemp(dir=copy.parent))
    if ours.is_dir():
        shutil.copytree(ours, made, dirs_exist_ok=True, copy_function=shutil.copyfile)
        made.chmod(0o700)
    try:
        made.rename(copy)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
    return copy


numba_config.CACHE_DIR = str(cache_folder())


def kernel(function: Kernel) -> Kernel:
    """Compiles a function of arrays and numbers: no Python objects, no GIL, IEEE arithmetic in the order written."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, _nrt=False, error_model="numpy", fastmath=False)(function)
    return compiled


def brief_kernel(function: Kernel) -> Kernel:
    """As ``kernel``, for what the interpreter calls and is done in some microseconds: the GIL is kept, for to get it back may take longer."""
    compiled: Kernel = numba.njit(cache=True, nogil=False, _nrt=False, error_model="numpy", fastmath=False)(function)
    return compiled


def uncompiled(function: Kernel) -> Kernel:
    """The Python that a kernel was made from, for a caller in Python: to hand a hundred tables over takes longer than to look at a few of them."""
    original: Kernel = function.py_func  # type: ignore[attr-defined]
    return original


def leaf_kernel(function: Kernel) -> Kernel:
    """As ``kernel``, for small functions called in loops, and large ones with one caller: their bodies are put in the callers', tuples of arrays are not passed."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, _nrt=False, error_model="numpy", fastmath=False, forceinline=True)(
        function
    )
    return compiled


def inner_kernel(function: Kernel) -> Kernel:
    """As ``kernel``, for sums whose order may be regrouped so that they vectorize (the same way on every run of one CPU kind)."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, _nrt=False, error_model="numpy", fastmath={"reassoc", "contract"})(
        function
    )
    return compiled


def product_kernel(function: Kernel) -> Kernel:
    """As ``kernel``, for what multiplies matrices: ``np.dot(left, right, into)`` is BLAS, which numba finds in scipy. Not to be called by other kernels."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    return compiled
