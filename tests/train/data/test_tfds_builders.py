import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.train import tiny_data
from train.data import cifar_records, tfds_builders

STOCK = {
    "cifar10": tfds.image_classification.Cifar10,
    "cifar100": tfds.image_classification.Cifar100,
}


@pytest.fixture(autouse=True)
def tiny_layouts(monkeypatch):
    monkeypatch.setattr(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)


@pytest.mark.parametrize("layout", tiny_data.LAYOUTS, ids=lambda layout: layout.name)
def test_prepares_the_stock_set(tmp_path, layout):
    files = tiny_data.files(layout)
    tiny_data.plant_download(tmp_path, layout, tiny_data.tar(tiny_data.members(layout)))
    builder = tfds_builders.OFFICIAL[layout.name](data_dir=tmp_path)
    builder.download_and_prepare(file_format=tfds_builders.FORMAT)

    # Plain TFDS, its own builder and all of its features.
    sources = tfds.data_source(
        layout.name,
        data_dir=tmp_path,
        download=False,
        builder_kwargs={"file_format": "array_record"},
    )
    assert sources["train"].dataset_info.full_name == f"{layout.name}/3.0.2"
    for split, names in (("train", layout.train_files), ("test", layout.test_files)):
        data = b"".join(files[name] for name in names)
        images = tiny_data.expected_images(data, layout)
        assert len(sources[split]) == len(images)
        for example in sources[split]:
            index = int(example["id"].decode().removeprefix(f"{split}_"))
            np.testing.assert_array_equal(example["image"], images[index])
            start = index * layout.record_bytes
            for column, key in enumerate(layout.label_keys):
                assert example[key] == data[start + column]
    features = sources["train"].dataset_info.features
    assert features["label"].names == [f"label_{i}" for i in range(layout.label_counts[-1])]


def test_class_definition_is_the_stock_one():
    for name, builder in tfds_builders.OFFICIAL.items():
        assert builder.name == name
        assert issubclass(builder, STOCK[name])
        assert builder.url_infos == STOCK[name].url_infos
        (layout,) = [layout for layout in tiny_data.LAYOUTS if layout.name == name]
        assert [*builder.url_infos] == [layout.url]
        assert type(tfds.builder(name)) is STOCK[name]
