"""The picture of spoilt photographs shows what the bundle that ships says of them."""

from io import BytesIO

from PIL import Image

from mien.models.appraisal.evaluation.drawings.refused_examples import EXAMPLES, drawn, examples


def test_spoilt_photographs_are_refused_or_noted_but_a_hand_is_not_seen() -> None:
    found = list(examples())
    assert [kind for kind, _, _ in found] == list(EXAMPLES)
    said = {kind: words for kind, _, words in found}
    assert all(
        said[kind].startswith("refused: ") for kind in ("cut by the border", "sunglasses", "mask", "dark")
    )
    assert all(", with a note: " in said[kind] for kind in ("upside down", "sideways", "blurred"))
    # docs/refusals.md says so; when it changes, the document has to.
    assert said["hand"].endswith("without a note")
    sheet = Image.open(BytesIO(drawn(found)))
    assert sheet.format == "JPEG"
    assert (sheet.width, sheet.height) == (880, 588)
