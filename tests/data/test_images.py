"""Images of files: CelebA and a user's own folder on small trees, crops, order of files, and files that are wrong."""

import numpy as np
import pytest

from aafast.data.celeba import CelebA
from aafast.data.folders import open_images
from aafast.data.images import as_array, at_least, centre_box, fit, place, random_crop, read_image, shown
from aafast.data.splits import generator
from aafast.errors import FileError, FormatError, InputError, MissingDependency
from aafast.tasks import draw_pairs

Image = pytest.importorskip("PIL.Image", reason="Pillow reads and writes the images")


def write(path, values):
    """Save [H, W, 3] or [H, W] as the file's type says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def ramp(height=218, width=178, blue=0):
    """Red grows to the right, green downwards, and blue tells the image."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    image[..., 2] = blue
    return image


@pytest.fixture
def celeba(tmp_path):
    """Six images of CelebA's size: blue 10, 20, ... in the order of their names."""
    lines = []
    for i in range(6):
        write(tmp_path / "img_align_celeba" / f"{i + 1:06}.png", ramp(blue=10 * (i + 1)))
        lines.append(f"{i + 1:06}.png {(0, 0, 0, 1, 2, 2)[i]}")
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def blue(x):
    return [round(float(image[2].mean()) * 255) for image in x]


def test_celeba_keeps_to_the_official_split(celeba):
    assert set(blue(draw_pairs("deblur", 6, source=celeba).x)) == {10, 20, 30}
    assert blue(draw_pairs("deblur", 3, source=celeba, split="valid").x) == [40, 40, 40]
    assert blue(draw_pairs("deblur", 4, source=str(celeba), split="test").x) == [50, 60, 50, 60]


def test_celeba_is_cropped_about_the_centre_and_resized(celeba):
    """The ramps run from edge to edge: 122 x 100 pixels with the rim, of which the inner 110 x 88 are the truth."""
    batch = draw_pairs("deblur", 1, source=celeba, split="test", mismatch="none", noise=(0.0, 0.0), surround=True)
    red, green, _ = batch.x[0].numpy() * 255
    scale = min(178 / 100, 218 / 122)
    across = 255 / 177 * ((178 - scale * 100) / 2 + scale * (np.arange(6, 94) + 0.5) - 0.5)
    down = 255 / 217 * ((218 - scale * 122) / 2 + scale * (np.arange(6, 116) + 0.5) - 0.5)
    assert batch.x.shape == (1, 3, 110, 88)
    assert np.abs(red - across).max() < 2.5 and np.abs(green - down[:, None]).max() < 2.5
    # A blur leaves a ramp as it is: also at the borders, which see what lies outside.
    assert (batch.y - batch.x).abs().max() < 0.02


def test_patches_are_cut_from_images_of_the_tasks_size(celeba):
    patches = draw_pairs("deblur", 12, (24, 24), source=celeba)
    steps = patches.x[:, 0].diff(dim=2).abs().mean((1, 2)) * 255
    assert np.allclose(steps, 255 / 100, atol=0.3)  # as fine as in the whole image
    assert len({round(float(image[1].min()) * 255) for image in patches.x}) > 4  # from many places
    assert {bool(image[0, 0, 0] > image[0, 0, -1]) for image in patches.x} == {True, False}  # mirrored or not
    larger = draw_pairs("deblur", 1, (130, 104), source=celeba, split="test")
    assert larger.x.shape == (1, 3, 130, 104)


def test_other_layouts_of_celeba(celeba, tmp_path_factory):
    root = tmp_path_factory.mktemp("kaggle")
    (celeba / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba" / "img_align_celeba")
    text = (celeba / "list_eval_partition.txt").read_text().replace(" ", ",")
    (root / "list_eval_partition.csv").write_text("image_id,partition\n" + text)
    assert blue(draw_pairs("deblur", 2, source=root, split="test").x) == [50, 60]


def test_a_missing_celeba_says_what_to_download_and_where_to_put_it(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(FileError, match=r"img_align_celeba\.zip.*mmlab.*give that folder as the source"):
            draw_pairs("deblur", 1, source=folder)
    (tmp_path / "list_eval_partition.txt").write_text("a.png 0\n")
    with pytest.raises(FileError, match="no img_align_celeba there.*Download"):
        draw_pairs("deblur", 1, source=tmp_path)


def test_an_image_folder_without_its_split(celeba):
    (celeba / "list_eval_partition.txt").unlink()
    with pytest.raises(FileError, match=r"no list_eval_partition\.txt there.*Download"):
        draw_pairs("deblur", 1, source=celeba)


def test_listed_images_that_are_not_there_are_named(celeba):
    (celeba / "img_align_celeba" / "000002.png").unlink()
    with pytest.raises(FileError, match=r"1 that are not in .*000002\.png"):
        draw_pairs("deblur", 1, source=celeba)


@pytest.mark.parametrize(
    ("text", "word"),
    [("000001.png 3\n", "line 1"), ("000001.png 0\n000002.png\n", "line 2"), ("000001.png 0\n", "no image of valid")],
)
def test_a_damaged_split_is_named(celeba, text, word):
    (celeba / "list_eval_partition.txt").write_text(text)
    with pytest.raises(FormatError, match=word):
        CelebA(celeba, (122, 100))


@pytest.mark.parametrize("keep", [0, 60, 0.5, 0.9])
def test_a_truncated_image_is_named(celeba, keep):
    file = celeba / "img_align_celeba" / "000005.png"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(FormatError, match=r"000005\.png: got a damaged or truncated file"):
        draw_pairs("deblur", 1, source=celeba, split="test")


def test_a_truncated_jpeg_is_named(tmp_path):
    file = write(tmp_path / "photo.jpg", ramp())
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(FormatError, match="photo.jpg"):
        read_image(file)


def test_a_file_that_is_gone_or_a_folder(tmp_path):
    for path in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(FileError, match="a file that can be read"):
            read_image(path)


def test_pillow_is_asked_for_by_its_extra(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(MissingDependency, match=r"aafast\[images\]"):
        read_image(tmp_path / "a.png")


@pytest.fixture
def own(tmp_path):
    for split, values in (("train", (50, 60, 70)), ("valid", (80,)), ("test", (90, 100))):
        for value in values:
            write(tmp_path / split / "some" / f"{value}.png", ramp(60, 50, value))
    (tmp_path / "train" / "notes.txt").write_text("no image")
    return tmp_path


def test_own_images_are_seen_at_their_own_resolution(own):
    batch = draw_pairs("deblur", 4, (40, 30), source=own, split="test")
    assert sorted(blue(batch.x)) == [90, 90, 100, 100]
    step = batch.x[:, 0].diff(dim=2).mean((1, 2)) * 255
    assert np.allclose(step, 255 / 49, atol=0.2)
    assert set(blue(draw_pairs("deblur", 3, (40, 30), source=own).x)) == {50, 60, 70}


def test_own_images_that_are_too_small_or_missing(own):
    (own / "valid" / "some" / "80.png").unlink()
    with pytest.raises(FormatError, match=r"100\.png: got 60 x 50 pixels; expected at least 62 x 52"):
        draw_pairs("deblur", 2, (50, 40), source=own, split="test")
    with pytest.raises(FileError, match="valid: got none"):
        draw_pairs("deblur", 1, (8, 8), source=own, split="valid")


def test_a_grey_image_has_three_equal_channels(own):
    write(own / "test" / "some" / "00.png", ramp(60, 50)[..., 1])
    x = draw_pairs("deblur", 1, (20, 20), source=own, split="test").x[0]
    assert (x[0] == x[1]).all() and (x[0] == x[2]).all() and x.std() > 0.05


def test_every_pass_of_training_sees_each_file_once_in_another_order():
    passes = [[place(3, "train", 10, 10 * e + i) for i in range(10)] for e in range(3)]
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert passes[0] != passes[1] != passes[2] and passes[0] != list(range(10))
    assert [place(3, "test", 4, i) for i in range(6)] == [0, 1, 2, 3, 0, 1]
    assert [place(4, "train", 10, i) for i in range(10)] != passes[0]


def test_small_helpers():
    assert centre_box((100, 50), (10, 10)) == (25, 0, 75, 50)
    assert centre_box((50, 100), (10, 20)) == (0, 37.5, 50, 62.5)
    assert at_least((10, 10), (20, 20)) == (20, 20) and at_least((10, 30), (20, 20)) == (10, 30)
    assert shown("abcdefg") == "a, b, c, d, e and 2 more" and shown("ab") == "a, b"
    whole = Image.fromarray(ramp(40, 80))
    assert np.array_equal(as_array(fit(whole, (40, 80))), ramp(40, 80).transpose(2, 0, 1) / np.float32(255))


def test_parts_are_cut_at_the_same_place():
    a, b = np.arange(300).reshape(3, 10, 10), np.arange(100).reshape(10, 10)
    seen = set()
    for i in range(30):
        p, q = random_crop(generator(0, "train", i), (a, b), (7, 8), mirror=True)
        assert np.array_equal(p[0], q) and q.shape == (7, 8)
        seen.add(int(q[0, 0]))
    assert len(seen) > 10


def test_an_opened_folder_is_listed_once(own):
    assert open_images(own, (122, 100)) is open_images(own, (122, 100))


@pytest.mark.parametrize("task", ["deblur", "defog"])
def test_photographs_of_scikit_image(task):
    pytest.importorskip("skimage", reason="its wheel holds the photographs")
    batch = draw_pairs(task, 7, source="photographs", split="test", mismatch="none", noise=(0.0, 0.0))
    again = draw_pairs(task, 1, source="photographs", split="test", mismatch="none", noise=(0.0, 0.0), start=6)
    assert (again.x[0] == batch.x[6]).all() and (batch.x[0] != batch.x[6]).any()
    assert batch.x.min() >= 0 and batch.x.max() <= 1 and batch.x.std((1, 2, 3)).min() > 0.02
    rest = (batch.y - batch.true.A(batch.x)).abs()
    if task == "deblur":
        assert rest[:, :, 6:-6, 6:-6].max() < 1e-6
        assert (batch.x[5, 0] == batch.x[5, 1]).all() and (batch.x[0, 0] != batch.x[0, 1]).any()  # the grey one
    else:
        assert rest.max() < 1e-6
        assert 0.4 < batch.true.depth.min() < 0.6 and 0.8 < batch.true.depth.max() <= 1


def test_photographs_that_are_too_small():
    pytest.importorskip("skimage", reason="its wheel holds the photographs")
    with pytest.raises(InputError, match="crop of a photograph"):
        draw_pairs("deblur", 2, (400, 400), source="photographs", split="test")


def test_a_wheel_without_the_photographs(tmp_path, monkeypatch):
    data = pytest.importorskip("skimage.data", reason="its wheel holds the photographs")
    monkeypatch.setattr(data, "__file__", str(tmp_path / "__init__.py"))
    from aafast.data import photographs

    photographs._read.cache_clear()
    with pytest.raises(FileError, match="astronaut.png"):
        draw_pairs("deblur", 1, source="photographs", split="test")
