"""What each process does first under `make test`: map the file of hits, import our packages with marks, refuse what is deprecated.

It also imports TensorFlow without what TensorFlow and Keras take along only because it is there, and without looking for
garbage on the way (under `make test-clusters`, too).
Run at the start of every interpreter of the environment, by a .pth file: it imports little, and only what interpreters have.
"""

import builtins
import gc
import importlib.machinery
import marshal
import mmap
import os
import sys
import types
import warnings
from typing import Any

HITS = "__line_hits__"
VARIABLE = "LINE_HITS"  # the directory with the bytes and the code, for this process and its children
PACKAGES = ("engine", "transforms", "trainers", "cluster")
OURS = rf"({'|'.join(PACKAGES)})(\.|$)"  # names of our modules, as filters of warnings have them
DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
# Modules that try to import these and do without them where they are not installed, as in most images. The tests' oracles and TFMA bring
# them here, and hundreds of processes would spend a third of their import of TensorFlow on wrappers and editors that none uses.
_OPTIONAL = {
    "IPython": ("keras.src.saving.file_editor",),
    "googleapiclient": (
        "tensorflow.python.distribute.cluster_resolver.gce_cluster_resolver",
        "tensorflow.python.tpu.client.client",
    ),
    "matplotlib": tuple(
        f"keras.src.visualization.{name}"
        for name in (
            "draw_bounding_boxes",
            "draw_segmentation_masks",
            "plot_bounding_box_gallery",
            "plot_image_gallery",
            "plot_segmentation_mask_gallery",
        )
    ),
    "pandas": ("keras.src.trainers.data_adapters.array_slicing",),
    "sklearn": ("keras.src.wrappers.fixes", "keras.src.wrappers.sklearn_wrapper", "keras.src.wrappers.utils"),
}


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> Any:
        try:
            with open(self._code, "rb") as file:
                return marshal.load(file)
        except OSError:
            return super().get_code(fullname)


class _Finder:
    def __init__(self, root: str, directory: str) -> None:
        self._root, self._directory = root, directory

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if (
            spec
            and type(spec.loader) is importlib.machinery.SourceFileLoader
            and str(spec.origin).startswith(self._root)
        ):
            relative = str(spec.origin).removeprefix(self._root)
            spec.loader = _Loader(name, str(spec.origin), f"{self._directory}/code/{relative}")
        return spec


class _Uncollected(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        enabled = gc.isenabled()
        gc.disable()
        try:
            super().exec_module(module)
        finally:
            if enabled:
                gc.enable()


class _WithoutCollections:
    """Imports TensorFlow without collections: its million objects live on, and to look at them again and again is a tenth of the time."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Uncollected(name, str(spec.origin))
        return spec


class _NotFor:
    """Tells the modules of `_OPTIONAL` that what they try is not installed; all others find it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in _OPTIONAL:
            frame = sys._getframe(1)
            while frame.f_back and frame.f_code.co_filename.startswith("<frozen importlib"):
                frame = frame.f_back
            if frame.f_globals.get("__name__") in _OPTIONAL[name]:
                raise ModuleNotFoundError(f"No module named {name!r} for this one", name=name)


def start(directory: str) -> None:
    """Counts the lines of our packages that this process imports from now on, where there is a file of hits."""
    sys.meta_path[:0] = [_NotFor(), _WithoutCollections()]  # type: ignore[list-item]
    try:
        with open(f"{directory}/hits", "r+b") as file:
            setattr(builtins, HITS, mmap.mmap(file.fileno(), 0))
        with open(f"{directory}/root") as text:
            root = text.read()
    except OSError:  # nothing is counted, the process outlived the directory, or its user may not read it
        return
    sys.meta_path.insert(0, _Finder(root, directory))  # type: ignore[arg-type]
    # PYTHONWARNINGS takes whole names of modules alone, and pytest's filters reach no child: what tests start is held to them here.
    for category in DEPRECATIONS:
        warnings.filterwarnings("error", category=category, module=OURS)


if __name__ == "line_hits" and VARIABLE in os.environ:
    start(os.environ[VARIABLE])
