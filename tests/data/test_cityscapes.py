"""Cityscapes on small trees: pairs by name, depth from disparity, holes, sky, fog given and made, damaged files."""

import json

import numpy as np
import pytest

from aafast.data import cityscapes as loader
from aafast.data.cityscapes import FARTHEST
from aafast.data.depth import fill_holes, shrink_disparity
from aafast.errors import FileError, FormatError, InputError
from aafast.tasks import draw_pairs

Image = pytest.importorskip("PIL.Image", reason="Pillow reads and writes the images")

SIZE = (128, 256)  # as Cityscapes, eight times smaller, which is the task's own shape
BASELINE, FOCAL = 0.2, 2000.0
AIRLIGHT = np.array([0.8, 0.85, 0.9])


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def metres():
    """Depth of the test scenes: 10 m below, 100 m above, and 5 m for something on the left."""
    depth = np.repeat(np.geomspace(100, 10, SIZE[0])[:, None], SIZE[1], 1)
    depth[40:, :48] = 5
    return depth


def clear_image(number):
    image = np.random.default_rng(number).random((8, 16, 3)).repeat(16, 0).repeat(16, 1)
    image[..., 0] = number / 255
    return image


def add_scene(root, number, city="aachen", split="train", betas=(0.01,), camera=True):
    name = f"{city}_{number:06}_000019"
    at = f"{split}/{city}/{name}"
    clear = clear_image(number)
    write(root / f"leftImg8bit/{at}_leftImg8bit.png", np.rint(clear * 255).astype(np.uint8))
    disparity = BASELINE * FOCAL / metres()
    stored = np.rint(disparity * 256 + 1).astype(np.uint16)
    stored[80:88, 120:140] = 0  # a hole
    write(root / f"disparity/{at}_disparity.png", stored)
    for beta in betas:
        t = np.exp(-beta * metres())[..., None]
        foggy = clear * t + AIRLIGHT * (1 - t)
        write(root / f"leftImg8bit_foggy/{at}_leftImg8bit_foggy_beta_{beta}.png", np.rint(foggy * 255).astype(np.uint8))
    if camera:
        path = root / f"camera/{at}_camera.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"extrinsic": {"baseline": BASELINE}, "intrinsic": {"fx": FOCAL}}))
    return at


@pytest.fixture
def cityscapes(tmp_path):
    add_scene(tmp_path, 1, betas=(0.005, 0.02))
    add_scene(tmp_path, 2, city="bochum")
    add_scene(tmp_path, 3, split="val", city="munster")
    add_scene(tmp_path, 4, split="test", city="berlin")
    return tmp_path


def number(image):
    """Red tells the scene."""
    return round(float(image[0].mean()) * 255)


def test_pairs_are_those_of_the_split_by_name(cityscapes):
    """Scene 1 has fog of two densities, so it is there twice."""
    found = draw_pairs("defog", 3, SIZE, source=cityscapes)
    assert sorted(number(x) for x in found.x) == [1, 1, 2]
    assert sorted(found.true.beta.flatten().tolist()) == pytest.approx([0.5, 1.0, 2.0])
    for image, beta in zip(found.x, found.true.beta.flatten(), strict=True):
        assert (number(image) == 2) == (abs(float(beta) - 1) < 1e-6)
    assert number(draw_pairs("defog", 1, SIZE, source=str(cityscapes), split="valid").x[0]) == 3
    assert number(draw_pairs("defog", 1, SIZE, source=cityscapes, split="test").x[0]) == 4


def test_given_fog_is_the_measurement_and_its_haze_explains_it(cityscapes):
    batch = draw_pairs("defog", 1, source=cityscapes, split="valid", mismatch="none")
    fog = np.asarray(Image.open(next(cityscapes.glob("leftImg8bit_foggy/val/*/*")))).transpose(2, 0, 1)
    assert np.array_equal(batch.y[0].numpy(), fog / np.float32(255))
    assert np.allclose(batch.true.airlight.flatten(1), AIRLIGHT, atol=0.01)
    rest = (batch.y - batch.true.A(batch.x)).abs()
    assert rest[..., 60:].max() < 0.006 and rest.mean() < 0.002 and batch.snr > 40  # 8 bits, and one step of depth


def test_depth_is_in_units_of_100_m(cityscapes):
    depth = draw_pairs("defog", 1, SIZE, source=cityscapes, split="test").true.depth[0, 0].numpy()
    assert np.allclose(depth[:, 60:110], metres()[:, 60:110] / 100, rtol=0.02)
    assert np.allclose(depth[80:88, 120:140], metres()[80:88, 120:140] / 100, rtol=0.05)  # the hole
    assert np.allclose(depth[48:, :40], 0.05, rtol=0.02)


def test_patches_are_cut_alike_from_image_fog_and_depth(cityscapes):
    batch = draw_pairs("defog", 6, (16, 24), source=cityscapes, mismatch="none")
    assert batch.x.shape == (6, 3, 16, 24)
    assert (batch.y - batch.true.A(batch.x)).abs().mean((1, 2, 3)).max() < 0.03
    same = draw_pairs("defog", 6, (16, 24), source=cityscapes, mismatch="none")
    assert (same.x == batch.x).all() and len({float(x[1].mean()) for x in batch.x}) > 3


def test_fog_made_by_the_formula_needs_no_foggy_images(cityscapes):
    for file in cityscapes.glob("leftImg8bit_foggy/*/*/*"):
        file.unlink()
    batch = draw_pairs("defog", 2, SIZE, source=cityscapes, fog="made", noise=(0.0, 0.0))
    assert (batch.y - batch.true.A(batch.x)).abs().max() < 1e-6
    assert sorted(number(x) for x in batch.x) == [1, 2]
    assert (batch.true.beta >= 0.8).all() and (batch.true.beta <= 2.5).all()
    with pytest.raises(FileError, match="scenes in .*foggy.*none.*Register"):
        draw_pairs("defog", 1, SIZE, source=cityscapes)


def test_without_camera_files_the_usual_camera_is_taken(tmp_path):
    add_scene(tmp_path, 1, split="test", camera=False)
    depth = draw_pairs("defog", 1, SIZE, source=tmp_path, split="test").true.depth[0, 0].numpy()
    usual = 0.209313 * 2262.52 / (BASELINE * FOCAL)
    assert np.allclose(depth[:, 60:110], usual * metres()[:, 60:110] / 100, rtol=0.02)


def test_labels_put_the_sky_at_the_farthest_depth(cityscapes):
    labels = np.full(SIZE, 7, np.uint8)
    labels[:32] = 23
    at = "test/berlin/berlin_000004_000019"
    write(cityscapes / f"gtFine/{at}_gtFine_labelIds.png", labels)
    depth = draw_pairs("defog", 1, SIZE, source=cityscapes, split="test").true.depth[0, 0]
    assert (depth[:32] == FARTHEST).all() and (depth[32:] < 1).all()
    write(cityscapes / f"gtFine/{at}_gtFine_labelIds.png", labels[:, :200])
    loader._read.cache_clear()
    with pytest.raises(FormatError, match="size of .*labelIds.png: got 200 x 128 pixels; expected 256 x 128"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, split="test")


def test_disparities_near_zero_are_cut_off(tmp_path):
    at = add_scene(tmp_path, 1, split="test")
    write(tmp_path / f"disparity/{at}_disparity.png", np.full(SIZE, 2, np.uint16))
    depth = draw_pairs("defog", 1, SIZE, source=tmp_path, split="test").true.depth
    assert depth.min() == depth.max() == FARTHEST


@pytest.mark.parametrize(("part", "ending"), [("leftImg8bit", "leftImg8bit"), ("disparity", "disparity")])
def test_files_without_a_partner_are_listed(cityscapes, part, ending):
    (cityscapes / f"{part}/train/bochum/bochum_000002_000019_{ending}.png").unlink()
    with pytest.raises(FileError, match=rf"1 files missing: bochum/bochum_000002_000019 \(no {part}\)"):
        draw_pairs("defog", 1, SIZE, source=cityscapes)


def test_a_camera_missing_among_others_is_listed(cityscapes):
    (cityscapes / "camera/train/bochum/bochum_000002_000019_camera.json").unlink()
    with pytest.raises(FileError, match=r"bochum_000002_000019 \(no camera\)"):
        draw_pairs("defog", 1, SIZE, source=cityscapes)


def test_a_missing_data_set_says_what_to_download_and_where_to_put_it(tmp_path, cityscapes):
    with pytest.raises(FileError, match=r"no such folder; .*www\.cityscapes-dataset\.com.*foggy\.zip.*as the source"):
        draw_pairs("defog", 1, source=tmp_path / "none")
    (cityscapes / "disparity").rename(tmp_path / "elsewhere")
    with pytest.raises(FileError, match=r"no disparity there.*disparity_trainvaltest\.zip"):
        draw_pairs("defog", 1, source=cityscapes)


@pytest.mark.parametrize("part", ["disparity", "leftImg8bit_foggy"])
def test_a_map_of_the_wrong_size_is_named(cityscapes, part):
    file = next(cityscapes.glob(f"{part}/test/*/*"))
    values = np.asarray(Image.open(file))
    write(file, np.ascontiguousarray(values[:32]))
    with pytest.raises(FormatError, match=rf"size of .*{file.name}: got 256 x 32 pixels; expected 256 x 128"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, split="test")


@pytest.mark.parametrize(
    ("values", "word"),
    [(np.zeros(SIZE, np.uint8), "8 bits"), (np.zeros(SIZE, np.uint16), "no valid pixel")],
)
def test_a_disparity_that_is_none_is_named(cityscapes, values, word):
    file = write(next(cityscapes.glob("disparity/test/*/*")), values)
    with pytest.raises(FormatError, match=rf"{file.name}: got {word}"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, split="test")


def test_a_truncated_disparity_is_named(cityscapes):
    file = next(cityscapes.glob("disparity/test/*/*"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FormatError, match=rf"{file.name}: got a damaged"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, split="test")


@pytest.mark.parametrize("text", ["", "{}", '{"extrinsic": {"baseline": 0}, "intrinsic": {"fx": 1}}', "[1]"])
def test_a_camera_without_numbers_is_named(cityscapes, text):
    file = next(cityscapes.glob("camera/test/*/*"))
    file.write_text(text)
    with pytest.raises(FormatError, match=rf"camera .*{file.name}"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, split="test")


def test_fog_without_its_density_in_the_name(cityscapes):
    file = next(cityscapes.glob("leftImg8bit_foggy/test/*/*"))
    file.rename(file.with_name("berlin_000004_000019_leftImg8bit_foggy.png"))
    with pytest.raises(FormatError, match=r"foggy_beta_0\.01\.png"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, split="test")


def test_an_unknown_kind_of_fog(cityscapes):
    with pytest.raises(InputError, match="given | made"):
        draw_pairs("defog", 1, SIZE, source=cityscapes, fog="real")


def test_holes_are_filled_from_the_farther_side_of_their_row():
    values = np.array([[9, 0, 0, 4, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 7, 0, 0, 0]], np.float32)
    filled = fill_holes(values, values > 0)
    assert filled.tolist() == [[9, 4, 4, 4, 4], [9, 4, 4, 4, 4], [7] * 5, [7] * 5]
    assert not fill_holes(values, np.zeros_like(values, bool)).any()


def test_only_valid_disparities_are_averaged():
    values = np.arange(32, dtype=np.float32).reshape(4, 8)
    valid = values % 2 == 0
    small = shrink_disparity(values, valid, (2, 4), (0, 0, 8, 4))
    assert small.tolist() == [[4, 6, 8, 10], [20, 22, 24, 26]]
    valid[:2, 2:4] = False
    assert shrink_disparity(values, valid, (2, 4), (0, 0, 8, 4))[0].tolist() == [4, 4, 8, 10]
