"""Keras's model files, ``.keras`` and ``.h5``, looked at before Keras makes anything of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import keras

from ...checks import shown
from ...errors import InputError, ModelFileError
from ...files import check_path
from ...network import Network
from .graph import MASK_OPERATIONS
from .layers import CELLS
from .models import LAYERS, read_model

ENDINGS = (".keras", ".h5", ".hdf5")
MODELS = ("Sequential", "Functional", "Model")
PARTS = (*LAYERS, *MODELS, *MASK_OPERATIONS, "InputLayer")
VALUES = ("__keras_tensor__", "__numpy__", "__tensor__", "DTypePolicy", "Policy")
OF_TRAINING = ("_initializer", "_regularizer", "_constraint")
TRAINING = ("keras", "keras.initializers", "keras.regularizers", "keras.constraints")
MAX_CONFIG = 1 << 26  # bytes
MAX_SMALL, MAX_PACKED = 1 << 26, 20  # bytes, and times a file's size, that it may unpack to


def load(model: Any) -> Network:
    """A network that computes what a Keras model does, from the model or from its file.

    Args:
        model: the path of a ``.keras`` or ``.h5`` file, which Keras loads in its safe mode and
            only when it names nothing but layers that headgate has; or what ``from_keras``
            takes.

    Raises:
        ModelFileError: the file is not there, is no Keras model, or is damaged.
        InputError: a layer or an option has no exact counterpart, by name.
    """
    if not isinstance(model, (str, bytes, os.PathLike)):
        return read_model(model, stacklevel=3)
    path = check_path(model)
    if not os.path.isfile(path):
        raise ModelFileError(f"{path!r} does not exist or is no file; check the path")
    if not path.endswith(ENDINGS):
        raise ModelFileError(
            f"{path!r} is not named as one of Keras's model files, {', '.join(ENDINGS)}; save the "
            "model with model.save('model.keras')"
        )
    try:
        config = _config(path)
        _check(path, config)
        path_now = path
        with tempfile.TemporaryDirectory() as folder:
            if "time_major" in json.dumps(config):
                path_now = _as_of_keras_3(path, config, folder)
            made = keras.models.load_model(path_now, compile=False, safe_mode=True)
    except (ModelFileError, InputError):
        raise
    except Exception as error:  # whatever Keras, zipfile or h5py say of a damaged file
        raise ModelFileError(
            f"{path!r} cannot be read as a Keras model: {type(error).__name__}: {error}"
        ) from error
    return read_model(made, stacklevel=3)


def _config(path: str) -> Any:
    """What a file says of its model, read without making any of it."""
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            held = sum(part.file_size for part in archive.infolist())
            if held > max(MAX_SMALL, MAX_PACKED * os.path.getsize(path)):
                raise ModelFileError(
                    f"{path!r} unpacks to {held} bytes, more than {MAX_PACKED} times its own; save "
                    "the model again"
                )
            with archive.open("config.json") as file:
                text: Any = file.read(MAX_CONFIG + 1)
    else:
        import h5py  # comes with Keras

        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    if text is None:
        raise ModelFileError(
            f"{path!r} holds weights alone; save the whole model with model.save('model.keras')"
        )
    if len(text) > MAX_CONFIG:
        raise ModelFileError(f"{path!r} has a description of more than {MAX_CONFIG} bytes")
    return json.loads(text)


def _as_of_keras_3(path: str, config: Any, folder: str) -> str:
    """A copy of a file of Keras 2 without an option of its layers that Keras 3 stumbles over."""
    text = json.dumps(_without_time_major(config))
    copy = os.path.join(folder, os.path.basename(path))
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for name in old.namelist():
                new.writestr(name, text if name == "config.json" else old.read(name))
    else:
        import h5py  # comes with Keras

        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = text
    return copy


def _without_time_major(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("time_major"):
            raise InputError(
                f"layer {shown(value.get('name'))}: time_major=True has no counterpart in "
                "headgate; save the model with time_major=False"
            )
        return {k: _without_time_major(part) for k, part in value.items() if k != "time_major"}
    return [_without_time_major(part) for part in value] if isinstance(value, list) else value


def _check(path: str, config: Any) -> None:
    """Refuse whatever is no layer of ours before Keras looks it up, imports or runs it."""
    if not isinstance(config, dict) or config.get("class_name") not in MODELS:
        held = config.get("class_name") if isinstance(config, dict) else config
        raise InputError(
            f"{path!r} holds a {shown(held)}; headgate reads keras.Sequential and "
            "keras.Model(inputs, outputs)"
        )
    # what the model was compiled with is not read
    for entry in _objects({**dict(config), "compile_config": None}):
        kind, settings = entry["class_name"], entry.get("config")
        settings = settings if isinstance(settings, dict) else {}
        if kind not in (*PARTS, *VALUES):
            name = settings.get("name")
            raise InputError(
                f"{path!r}: {'' if name is None else f'layer {shown(name)} '}({shown(kind)}) has "
                f"no counterpart in headgate; layers that have one: {', '.join(LAYERS)}"
            )
        module = entry.get("module")
        if module is not None and str(module).partition(".")[0] not in ("keras", "builtins"):
            raise InputError(
                f"{path!r}: {shown(kind)} is to come from {shown(module)}, which is not Keras"
            )
        _check_sizes(path, kind, settings)


def _check_sizes(path: str, kind: str, settings: dict[str, Any]) -> None:
    """Refuse layers with more numbers than the file can hold, before room is made for them."""
    sizes = [settings.get(size, 1) for size in ("units", "input_dim", "output_dim")]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ModelFileError(f"{path!r}: {shown(kind)} has sizes that are none: {shown(sizes)}")
    units, rows, columns = sizes
    shape = settings.get("batch_shape") or settings.get("batch_input_shape") or ()
    widest = max((size for size in shape[2:] if isinstance(size, int)), default=1)
    numbers = max(units**2 if kind in CELLS else units, rows * columns, widest)
    if numbers > os.path.getsize(path):
        raise ModelFileError(
            f"{path!r} is truncated: {shown(kind)} has {numbers} numbers or more, and the file "
            f"{os.path.getsize(path)} bytes; copy or save it again"
        )


def _objects(value: Any, training: bool = False) -> Iterator[dict[str, Any]]:
    """Every part of a description that names a class, but for Keras's own of training alone."""
    if isinstance(value, dict):
        if "class_name" in value and not (training and value.get("module", "keras") in TRAINING):
            yield value
        for key, part in value.items():
            yield from _objects(part, training or str(key).endswith(OF_TRAINING))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _objects(part, training)
