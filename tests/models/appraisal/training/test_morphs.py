"""Morphs and averages: identity, symmetry, and what has no landmarks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.models.appraisal.errors import ImageSetError
from mien.models.appraisal.portraits import FaceSet, Portrait
from mien.models.appraisal.training.morphs import morph, morphed_faces, moved, read_landmarks

# Points about the eyes, the nose and the mouth of the aligned frame.
SHAPE = np.array(
    [
        (90, 100),
        (166, 100),
        (128, 139),
        (128, 179),
        (100, 180),
        (156, 180),
        (70, 140),
        (186, 140),
        (128, 220),
    ],
    dtype=float,
)


def shifted(seed: int) -> np.ndarray:
    return SHAPE + np.random.default_rng(seed).uniform(-6, 6, SHAPE.shape)


def grey_levels(a: Tensor, b: Tensor) -> Tensor:
    return (a.float() - b.float()).abs()


def test_a_face_morphed_to_its_own_shape_is_itself(face: Tensor):
    made = morph(face[None], [SHAPE], SHAPE, [1.0])
    assert made.shape == face.shape
    assert made.dtype == torch.uint8
    # The places go through float32: a last bit of a coordinate is a little of a colour.
    assert grey_levels(made, face).max() <= 1


def test_textures_are_averaged_by_their_weights(face: Tensor):
    pair = torch.stack([face, face.flip(2)])
    for share in (0.0, 0.3, 1.0):
        made = morph(pair, [SHAPE, SHAPE], SHAPE, [share, 1 - share])
        expected = share * face.float() + (1 - share) * face.flip(2).float()
        # Rounded to uint8, and as above.
        assert (made - expected).abs().max() <= 1.5


def test_the_average_does_not_depend_on_the_order(face: Tensor):
    faces, shapes = torch.stack([face, face.flip(2)]), [shifted(1), shifted(2)]
    mean = np.mean(shapes, axis=0)
    one = morph(faces, shapes, mean, [0.5, 0.5])
    other = morph(faces.flip(0), shapes[::-1], mean, [0.5, 0.5])
    # Sums of float32 in another order.
    assert grey_levels(one, other).max() <= 1


def test_landmarks_land_where_the_shape_says():
    """A white dot at every landmark of the source is found at the target's landmark."""
    source, target = shifted(3), shifted(4)
    picture = torch.zeros(3, 256, 256, dtype=torch.uint8)
    for x, y in source.round().astype(int):
        picture[:, y - 2 : y + 3, x - 2 : x + 3] = 255
    made = morph(picture[None], [source], target, [1.0])
    assert all(made[0, y, x] > 200 for x, y in target.round().astype(int))


def test_the_border_stays(face: Tensor):
    made = morph(face[None], [SHAPE], SHAPE + 8, [1.0])
    for rim in (0, -1):
        # The border itself is still; the first pixel's centre lies half a pixel inside.
        assert grey_levels(made[:, rim], face[:, rim]).max() <= 4
        assert grey_levels(made[:, :, rim], face[:, :, rim]).max() <= 4
    assert grey_levels(made, face).max() > 20


def test_landmarks_outside_of_the_picture_are_left_out(face: Tensor):
    wild = np.vstack([SHAPE, [(-50.0, 300.0)]])
    made = morph(face[None], [wild], wild, [1.0])
    assert grey_levels(made, face).max() <= 1


def test_points_move_as_pixels_do():
    matrix = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]])
    np.testing.assert_array_equal(moved(np.array([[1.0, 3.0]]), matrix), [[-1.0, 9.0]])


def ignore(*_: object) -> None:
    pass


@pytest.fixture
def faces(face: Tensor, tmp_path: Path) -> FaceSet:
    portraits = []
    for number in range(3):
        np.savetxt(tmp_path / f"{number}.csv", shifted(number), delimiter=",", header="x,y", comments="")
        portraits.append(Portrait(tmp_path / f"{number}.jpg", str(number), "", tmp_path / f"{number}.csv"))
    pictures = torch.stack([face, face.flip(2), 255 - face])
    matrices = torch.eye(2, 3, dtype=torch.float64).expand(3, 2, 3)
    return FaceSet(pictures, matrices, tuple(portraits), ())


def test_morphed_faces_follow_their_seed(faces: FaceSet):
    told: list[tuple[int, int]] = []
    first = morphed_faces(faces, 3, 1, lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert first.shape == (3, 3, 256, 256)
    assert first.dtype == torch.uint8
    assert torch.equal(first, morphed_faces(faces, 3, 1, ignore))
    assert not torch.equal(first, morphed_faces(faces, 3, 2, ignore))
    assert all(grey_levels(made, own).max() > 5 for made in first for own in faces.faces)


def test_without_two_marked_people_there_is_no_morph(faces: FaceSet):
    plain = tuple(replace(portrait, landmarks=None) for portrait in faces.portraits)
    for portraits in (plain, (faces.portraits[0], *plain[1:])):
        none = morphed_faces(replace(faces, portraits=portraits), 3, 1, ignore)
        assert none.shape == (0, 3, 256, 256)


def test_landmarks_are_read_as_written(faces: FaceSet):
    path = faces.portraits[1].landmarks
    assert path is not None
    np.testing.assert_allclose(read_landmarks(path), shifted(1))


@pytest.mark.parametrize(
    "text", ["", "x,y\n", "x,y\n1,2,3\n", "x,y\n1,two\n", "x,y\n1,nan\n", "x,y\n1,inf\n", "x,y\n1\n2\n"]
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_what_is_no_list_of_points_is_refused(tmp_path: Path, text: str):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(ImageSetError, match=r"points\.csv"):
        read_landmarks(tmp_path / "points.csv")
    with pytest.raises(ImageSetError, match=r"nowhere\.csv"):
        read_landmarks(tmp_path / "nowhere.csv")
    with pytest.raises(ImageSetError, match="it is not a file"):
        read_landmarks(Path("/dev/zero"))
