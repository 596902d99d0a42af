"""Small stand-ins for the official CIFAR archives, and for folders of images."""

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from tensorflow_datasets.core.download import resource

from train.data import cifar_records, tfds_builders

CIFAR10, CIFAR100 = LAYOUTS = tuple(
    dataclasses.replace(layout, train_rows=20, test_rows=6) for layout in cifar_records.LAYOUTS
)


def files(layout: cifar_records.Layout) -> dict[str, bytes]:
    """The contents of every file of a layout, with random images and consistent labels."""
    rng = np.random.default_rng(len(layout.files))
    contents = {}
    for names, rows in (
        (layout.train_files, layout.train_rows),
        (layout.test_files, layout.test_rows),
    ):
        for name in names:
            count = rows // len(names)
            fine = rng.integers(layout.label_counts[-1], size=(count, 1))
            labels = fine if len(layout.label_keys) == 1 else np.hstack([fine // 5, fine])
            pixels = rng.integers(256, size=(count, 3072))
            contents[name] = np.hstack([labels, pixels]).astype(np.uint8).tobytes()
    for name, key, count in zip(layout.label_files, layout.label_keys, layout.label_counts, strict=True):
        contents[name] = ("\n".join(f"{key}_{i}" for i in range(count)) + "\n\n").encode()
    return contents


def write_folder(parent: Path, layout: cifar_records.Layout, contents: dict[str, bytes]) -> Path:
    folder = parent / layout.folder
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """An archive of plain files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def members(layout: cifar_records.Layout) -> dict[str, bytes]:
    """The members of a layout's archive."""
    return {f"{layout.folder}/{name}": data for name, data in files(layout).items()}


def expected_images(data: bytes, layout: cifar_records.Layout) -> np.ndarray:
    """The images of a record file, pixel by pixel as its documentation says."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, layout.record_bytes)
    images = np.empty((len(rows), 32, 32, 3), np.uint8)
    for channel in range(3):
        start = len(layout.label_keys) + 1024 * channel
        images[..., channel] = rows[:, start : start + 1024].reshape(-1, 32, 32)
    return images


def plant_download(data_dir: Path, layout: cifar_records.Layout, archive: bytes) -> Path:
    """Puts an archive where TFDS keeps the one that it has downloaded and checked."""
    ((url, info),) = tfds_builders.OFFICIAL[layout.name].url_infos.items()
    folder = data_dir / "downloads" / layout.name
    folder.mkdir(parents=True)
    path = folder / resource.get_dl_fname(url, info.checksum)
    path.write_bytes(archive)
    note = {"urls": [url], "original_fname": layout.archive, "url_info": info.asdict()}
    resource.get_info_path(path).write_text(json.dumps(note))
    return path


def write_images(folder: Path, count: int, mode: str = "RGB", size: tuple[int, int] = (5, 4)):
    """Writes PNG files 00.png, 01.png, ... of random pixels, and returns them as one array."""
    folder.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (count, size[1], size[0], channels)
    images = np.random.default_rng(count).integers(256, size=shape, dtype=np.uint8)
    for index, image in enumerate(images):
        Image.fromarray(image.squeeze(-1) if channels == 1 else image).save(folder / f"{index:02}.png")
    return images
