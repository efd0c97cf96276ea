from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from assay import InvalidArgument, Model, TensorInfo
from assay.cli.files import load_array, load_inputs, plane


def model(shape=(1, 4, 6), dtype="float32", *others):
    return Model("m", "1", "", inputs=(TensorInfo("image", dtype, shape), *others))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("one.npy", np.ones((1, 4, 6), np.float32))
    np.save("many.npy", np.arange(3 * 24, dtype=np.float32).reshape(3, 1, 4, 6))
    np.savez("two.npz", images=np.zeros((3, 1, 4, 6), np.float32), labels=np.arange(3))
    np.savez("lone.npz", x=np.ones((2, 1, 4, 6), np.float32))
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 5] = (255, 0, 51)
    Image.fromarray(pixels).save("i.png")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("one.npy", (1, 1, 4, 6)),
        ("image=one.npy", (1, 1, 4, 6)),
        ("many.npy", (3, 1, 4, 6)),
        ("many.npy[2]", (1, 1, 4, 6)),
        ("many.npy[1:]", (2, 1, 4, 6)),
        ("many.npy[:2]", (2, 1, 4, 6)),
        ("lone.npz", (2, 1, 4, 6)),
        ("image=two.npz:images[1]", (1, 1, 4, 6)),
    ],
)
def test_arrays_get_the_batch_axis_they_lack(folder, spec, shape):
    assert load_inputs([spec], model(), {})["image"].shape == shape


def test_the_picked_instance_is_that_one(folder):
    assert load_array("many.npy[2]").ravel()[0] == 48


def test_precision_follows_the_model_and_that_is_told(folder, capsys):
    np.save("double.npy", np.ones((1, 1, 4, 6)))
    assert load_inputs(["double.npy"], model(), {})["image"].dtype == np.float32
    assert capsys.readouterr().err == "assay: input image: float64 made float32\n"
    np.save("ints.npy", np.ones((1, 1, 4, 6), np.int64))
    assert load_inputs(["ints.npy"], model(), {})["image"].dtype == np.int64  # the server says what is wrong with it


def test_images_take_the_inputs_layout(folder):
    (nchw,) = load_inputs(["i.png"], model((3, 4, 6)), {"image": "NCHW"}).values()
    assert nchw.shape == (1, 3, 4, 6)
    assert nchw.dtype == np.float32
    np.testing.assert_allclose(nchw[0, :, 0, 5], [1, 0, 0.2], rtol=1e-6)
    (nhwc,) = load_inputs(["i.png"], model((4, 6, 3)), {"": "nhwc"}).values()
    np.testing.assert_array_equal(nhwc[0].transpose(2, 0, 1), nchw[0])
    assert load_inputs(["i.png"], model((1, -1, -1)), {"image": "NCHW"})["image"].shape == (1, 1, 4, 6)
    (raw,) = load_inputs(["i.png"], model((4, 6, 3), "uint8"), {"image": "NHWC"}).values()
    assert raw.dtype == np.uint8
    assert raw[0, 0, 5].tolist() == [255, 0, 51]


@pytest.mark.parametrize(
    ("spec", "shape", "layout", "said"),
    [
        ("i.png", (3, 8, 6), "NCHW", "4 pixels high, input 'image' wants 8; resize it first"),
        ("i.png", (3, 4, 8), "NCHW", "6 pixels wide, input 'image' wants 8"),
        ("i.png", (3, 4, 6), "", "--layout"),
        ("i.png", (2, 4, 6), "NCHW", "2 channels"),
        ("text.png", (3, 4, 6), "NCHW", "is no image"),
        ("other=one.npy", (1, 4, 6), "", "names none of the inputs of m@1: image"),
        ("one.txt", (1, 4, 6), "", "no .npy or .npz"),
        ("two.npz", (1, 4, 6), "", "images, labels: name one"),
        ("two.npz:x", (1, 4, 6), "", "images, labels: name one"),
        ("one.npy:x", (1, 4, 6), "", "no names"),
        ("many.npy[7]", (1, 4, 6), "", "out of bounds"),
        ("text.npy", (1, 4, 6), "", "can't be read"),
        ("pickle.npy", (1, 4, 6), "", "can't be read"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(folder, spec, shape, layout, said):
    (folder / "text.npy").write_text("hello")
    (folder / "text.png").write_text("hello")
    np.save("pickle.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InvalidArgument, match=said.replace("(", r"\(")):
        load_inputs([spec], model(shape), {"image": layout})


def test_several_inputs_are_named(folder):
    two = model((1, 4, 6), "float32", TensorInfo("labels", "int64", ()))
    inputs = load_inputs(["image=one.npy", "labels=two.npz:labels"], two, {})
    assert inputs["labels"].tolist() == [0, 1, 2]
    with pytest.raises(InvalidArgument, match="image, labels"):
        load_inputs(["one.npy"], two, {})


def test_a_missing_file_keeps_its_name(folder):
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        load_inputs(["none.npy"], model(), {})


def test_the_plane_of_a_picture_is_the_mean_over_its_channels():
    chw = np.stack([np.zeros((4, 6)), np.ones((4, 6)), np.full((4, 6), 2.0)])
    for array, layout in ((chw, "NCHW"), (chw, ""), (chw.transpose(1, 2, 0), "NHWC"), (chw.transpose(1, 2, 0), "")):
        np.testing.assert_array_equal(plane(array, layout), np.ones((4, 6)))
    np.testing.assert_array_equal(plane(chw[0], ""), chw[0])
    assert plane(np.zeros((5, 6, 7)), "") is None
    assert plane(np.zeros((5, 6)), "NTC") is None
    assert plane(np.zeros(5), "NF") is None
