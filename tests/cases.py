"""Faults that were once found, by kind: what is right, and the tests that hold it.

``python -m tests.cases`` prints the table; ``--write`` puts it into docs/maintaining/reliability.md.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from tests.commands import ROOT
from tests.markdown import markdown_table

PAGE = ROOT / "docs" / "maintaining" / "reliability.md"
BEGIN, END = "<!-- cases and their tests -->\n", "<!-- end of the cases -->\n"
_TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Held:
    """A case: what is right in it, and the tests, by file under ``tests`` and the names in it."""

    right: str
    tests: Mapping[str, Sequence[str]]


_ADB, _PHONE = "benchmarks/phone/test_hostile_adb.py", "benchmarks/phone/test_photographs.py"
_PROGRAM = "benchmarks/targets/test_bench_benchmark_model.py"
_CHECK, _RUN = "mobile_reference/coreml/test_mil_parity.py", "mobile_reference/coreml/test_mil_check.py"
_PHOTOGRAPHS = "mobile_reference/front/test_photographs.py"
_COMMANDS = "mobile_reference/commands/test_commands.py"
_CHECKPOINTS, _FUZZ = "models/appraisal/test_checkpoints.py", "fuzz/test_targets.py"
CASES: Mapping[str, Held] = {
    "adb-messages": Held(
        "an adb that fails, hangs or is for another processor is one line; a path is run, not looked up",
        {
            _ADB: (
                "test_a_server_that_cannot_start_is_quoted",
                "test_a_program_for_another_processor_is_said",
                "test_a_hang_is_ended_with_all_that_it_started",
                "test_a_path_is_run_and_not_looked_up",
            )
        },
    ),
    "converter-log-gone": Held(
        "finished conversions and logs stay where the message says; a busy machine ends no sound work",
        {
            "export/running/test_isolation.py": (
                "test_lost_conversions_leave_logs_and_what_was_finished",
                "test_work_on_a_busy_machine_is_let_go_on",
            )
        },
    ),
    "converters-onnx2tf": Held(
        "what onnx2tf makes is right, or refused and made another way",
        {
            "export/tflite/converters/test_traps.py": ("test_a_trap_is_right_or_refused",),
            "export/tflite/converters/test_other_networks.py": ("test_a_graph_is_converted_the_usual_way",),
            "export/tflite/converters/test_converters.py": (
                "test_a_model_that_computes_something_else_is_refused",
                "test_another_way_is_tried_where_one_makes_something_else",
            ),
        },
    ),
    "coreml-detected": Held(
        "two wrong conversions of coremltools fail, three right ones pass",
        {_CHECK: ("test_what_coremltools_made_of_a_module_is_judged_by_what_the_module_computes",)},
    ),
    "coreml-inf-equal": Held(
        "infinity at the same places passes", {_CHECK: ("test_infinity_at_the_same_places_passes",)}
    ),
    "coreml-int-inputs-zero": Held(
        "default inputs reach every row and beyond int16; whole numbers are compared exactly",
        {
            _CHECK: (
                "test_whole_numbers_beyond_int16_are_tried",
                "test_indices_reach_every_row_that_there_is",
                "test_whole_numbers_that_became_real_fail",
                "test_whole_numbers_are_compared_exactly",
            )
        },
    ),
    "coreml-nan-not-judged": Held(
        "a package that makes NaN fails", {_CHECK: ("test_nan_fails_even_where_nothing_else_is_judged",)}
    ),
    "coreml-narrow-inputs": Held(
        "default inputs have signs and outliers",
        {
            _CHECK: (
                "test_an_epsilon_that_grows_with_the_largest_value_fails",
                "test_a_lost_threshold_of_softplus_fails",
                "test_a_lost_negative_slope_fails",
            )
        },
    ),
    "coreml-run-pictures": Held(
        "`mien coreml run` reads pictures as `mien appraise` does; 16 bits become (v + 128) // 257",
        {
            _RUN: (
                "test_run_reads_pictures_as_appraise_does",
                "test_run_refuses_a_picture_as_appraise_does",
            )
        },
    ),
    "coreml-shape-unchecked": Held(
        "another shape or type fails",
        {
            _CHECK: (
                "test_another_shape_of_as_many_values_fails",
                "test_whole_numbers_that_became_real_fail",
                "test_what_no_tolerance_allows",
            )
        },
    ),
    "exif-crash": Held(
        "odd tags beside the orientation do not matter; a bad photograph is its own row",
        {
            _PHOTOGRAPHS: ("test_odd_tags_beside_the_orientation_do_not_matter",),
            _COMMANDS: ("test_one_bad_photograph_does_not_stop_the_rest",),
        },
    ),
    "face-cut-by-border": Held(
        "refused, with how much is outside",
        {
            _COMMANDS: (
                "test_the_shipped_checkpoint_turns_one_that_is_upside_down_and_refuses_one_that_is_cut",
            )
        },
    ),
    "faults/adb": Held(
        "floods, control signs, bytes that are no text and numbers of many digits are one line or missing",
        {
            _ADB: (
                "test_a_flood_is_read_up_to_a_limit",
                "test_bytes_that_are_no_text_are_shown_as_text",
                "test_numbers_of_many_digits_are_as_if_not_said",
                "test_a_name_cannot_write_on_the_terminal",
                "test_a_condition_that_is_not_understood_is_missing",
            ),
            _PROGRAM: ("test_what_is_not_a_time_is_none",),
        },
    ),
    "faults/checkpoints": Held(
        "values that no network can use are refused by name",
        {
            _CHECKPOINTS: (
                "test_a_config_that_the_networks_or_a_manifest_cannot_take_is_refused",
                "test_a_tensor_of_another_kind_is_named_with_it",
                "test_values_that_only_float64_can_hold_are_refused",
                "test_a_negative_variance_is_refused",
                "test_a_tolerated_evidence_below_zero_is_refused",
            ),
            "mobile_reference/run/test_refusals.py": ("test_values_that_no_sound_model_gives_are_no_rating",),
        },
    ),
    "faults/golden": Held(
        "vectors of odd types and shapes are refused before memory is taken",
        {
            "mobile_reference/bundle/test_caps.py": (
                "test_a_vector_that_is_no_array_of_numbers_is_refused_before_it_is_allocated",
            ),
            _FUZZ: ("test_a_golden_of_an_odd_shape_is_refused",),
        },
    ),
    "faults/golden-nan-passes": Held(
        "golden vectors that are NaN judge nothing",
        {
            "mobile_reference/bundle/test_caps.py": (
                "test_a_golden_tensor_that_is_not_finite_judges_nothing",
            ),
            _FUZZ: ("test_goldens_that_are_no_numbers_are_refused",),
        },
    ),
    "faults/manifests": Held(
        "values that make no sense are one line",
        {
            _FUZZ: ("test_a_value_that_makes_no_sense_is_one_line",),
            "mobile_reference/bundle/test_bundles.py": (
                "test_a_number_of_400_digits_is_refused_wherever_it_stands",
            ),
        },
    ),
    "faults/photos": Held(
        "text, EXIF and chunks that break a decoder give pixels or one line",
        {
            _PHOTOGRAPHS: (
                "test_text_that_hides_what_the_decoder_needs_is_refused",
                "test_any_exif_block_gives_pixels_or_one_line",
                "test_a_changed_file_gives_pixels_or_one_line",
                "test_whatever_a_decoder_raises_is_one_line",
            )
        },
    ),
    "faults/reports": Held(
        "damaged reports are one line, and names are text",
        {
            "benchmarks/results/test_bench_compare.py": (
                "test_a_damaged_report_is_one_line",
                "test_what_is_not_a_time_is_never_no_difference",
                "test_names_are_not_markup",
            ),
            "mobile_reference/report/test_page.py": (
                "test_markup_stays_text_wherever_a_name_stands",
                "test_control_signs_and_what_is_no_unicode_are_written_out",
            ),
        },
    ),
    "faults (programs)": Held(
        "damaged models crash no command; an interrupted export ends its conversions and loses nothing",
        {
            _FUZZ: (
                "test_a_model_cut_in_half_is_refused",
                "test_what_took_gigabytes_while_it_was_opened_is_refused",
                "test_an_interrupted_export_leaves_the_former_bundle",
                "test_what_a_killed_export_leaves_is_found",
                "test_a_sample_finds_nothing",
            )
        },
    ),
    "icc-ignored": Held(
        "a photograph with a profile rates as its twin in sRGB; the phone's runner refuses another profile",
        {
            _PHOTOGRAPHS: (
                "test_a_profile_is_converted_to_srgb",
                "test_a_grey_profile_is_converted",
                "test_a_profile_that_cannot_be_used_is_refused",
            ),
            _PHONE: (
                "test_what_the_phone_would_read_otherwise_is_refused",
                "test_the_runner_refuses_it_by_itself",
            ),
        },
    ),
    "int8-bias-overflow": Held(
        "a bias is stored as it is, however small its weights are",
        {
            "export/tflite/test_int8_regions.py": (
                "test_a_bias_is_stored_as_it_is_however_small_its_weights_are",
            )
        },
    ),
    "litert2-silent-cpu": Held(
        "which unit ran is proven or unknown; every form of the lines of times is read",
        {
            _PROGRAM: (
                "test_the_unit_is_proven_or_unknown",
                "test_times_of_an_unknown_unit_are_never_the_units",
                "test_one_run_and_equal_runs_have_their_time_alone",
                "test_litert_2_tells_loading_in_milliseconds",
            )
        },
    ),
    "mpo-on-phone": Held(
        "a JPEG with a second picture is an upright JPEG",
        {
            _PHONE: ("test_what_both_read_alike_is_accepted",),
            _PHOTOGRAPHS: ("test_of_a_file_of_two_pictures_the_first_counts",),
        },
    ),
    "not-an-image": Held(
        "the format that was found is named",
        {
            _PHOTOGRAPHS: (
                "test_another_format_is_named",
                "test_another_format_as_pillow_writes_it_is_named",
            )
        },
    ),
    "phone-50mp": Held(
        "a JPEG of 50 megapixels is read, up to 210",
        {
            _PHOTOGRAPHS: (
                "test_a_jpeg_of_many_pixels_is_reduced",
                "test_a_jpeg_of_two_hundred_megapixels_is_read",
                "test_a_jpeg_that_is_too_large_is_refused_before_decoding",
            )
        },
    ),
    "png16-on-phone": Held(
        "16 bits are (v + 128) // 257 and gAMA is ignored; the phone's runner refuses both",
        {
            _PHOTOGRAPHS: ("test_every_sixteen_bit_value_is_rounded", "test_gamma_is_ignored"),
            _PHONE: ("test_what_the_phone_would_read_otherwise_is_refused",),
        },
    ),
    "small-face-message": Held(
        "a face that is too small a part is not called absent",
        {
            "mobile_reference/front/test_alignment_parity.py": (
                "test_a_face_in_a_large_photograph_is_not_called_absent",
            )
        },
    ),
    "upside-down-face": Held(
        "turned and rated with a note",
        {
            _COMMANDS: (
                "test_the_shipped_checkpoint_turns_one_that_is_upside_down_and_refuses_one_that_is_cut",
            )
        },
    ),
}
"""By the name under which the case was reported."""


def missing(held: Iterable[Held]) -> Sequence[str]:
    """Return the tests that are named and not there."""
    named = {(file, name) for one in held for file, names in one.tests.items() for name in names}
    there = {file: _functions(_TESTS / file) for file, _ in named}
    return sorted(f"{file}::{name}" for file, name in named if name not in there[file])


def _functions(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def table() -> str:
    """Return the cases in Markdown."""
    rows = [
        (
            f"`{name}`",
            held.right,
            "; ".join(
                f"`tests/{file}`: {', '.join(f'`{test}`' for test in tests)}"
                for file, tests in held.tests.items()
            ),
        )
        for name, held in CASES.items()
    ]
    return markdown_table(("case", "what is right", "held by"), rows) + "\n"


def written(page: str) -> str:
    """Return a page with the table between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


@click.command()
@click.option("--write", is_flag=True, help="Put the table into docs/maintaining/reliability.md.")
def cases(write: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Print which tests hold the faults that were once found."""
    if write:
        PAGE.write_text(written(PAGE.read_text()))
    else:
        click.echo(table(), nl=False)


if __name__ == "__main__":
    cases()
