"""The commands of the documents that are not run word for word: why, and what runs their like."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Elsewhere:
    """Commands by their beginnings, why they are not run here, and the files that run their like.

    Without a file a command is run by hand alone.
    """

    why: str
    beginnings: Sequence[str]
    files: Sequence[str] = ()

    def has(self, command: str) -> bool:
        """Tell whether a command begins with one of ours."""
        return any(f"{command} ".startswith(f"{beginning} ") for beginning in self.beginnings)


TABLE = (
    Elsewhere(
        "it is a step of the tutorial, whose files a test follows in their order",
        ("python train.py", "python show.py", "mien export grader.py -o bundle --calibration calibration"),
        ("tests/documents/test_tutorial.py", "docs/tutorial.md"),
    ),
    Elsewhere(
        "an export of one's own pipeline takes a minute, and a fixture of many tests makes one",
        ("mien export grader.py",),
        ("tests/export/own/conftest.py", "docs/tutorial.md"),
    ),
    Elsewhere(
        "an export of a file of a model takes a minute",
        ("mien export model.pt2", "mien verify bundle --held-out IMAGES2 --pipeline model.pt2"),
        ("tests/export/own/test_front.py",),
    ),
    Elsewhere(
        "it needs the bundle of a file of a model",
        ("mien verify bundle --labels labels.csv --pipeline model.pt2",),
        ("tests/export/own/test_own_pipelines.py",),
    ),
    Elsewhere(
        "it compares what all converters make of a network",
        ("mien export CHECKPOINT --compare-converters", "mien export CHECKPOINT --compare-quantisers"),
        ("tests/export/own/test_compare.py", "tests/export/compare/test_compare_converters.py"),
    ),
    Elsewhere(
        "it searches precisions for hours",
        ("mien export CHECKPOINT -o BUNDLE --precision auto",),
        ("tests/export/search/test_search.py", "tests/export/test_export_refusals.py"),
    ),
    Elsewhere(
        "it exports the built-in pipeline, which takes minutes and is done once for all tests",
        ("mien export -o bundle", "mien export my-checkpoint", "mien export CHECKPOINT -o BUNDLE"),
        ("tests/conftest.py", "tests/export/own/conftest.py", "tests/export/cache/test_reuse.py"),
    ),
    Elsewhere(
        "it runs the built-in float pipeline, which takes half a minute for each portrait",
        (
            "mien verify bundle --held-out IMAGES --page",
            "mien verify BUNDLE --held-out",
            "mien verify BUNDLE --variant tflite-int8 --held-out",
            "mien verify BUNDLE --variant coreml-w8a8 --held-out",
        ),
        (
            "tests/export/own/test_own_pipelines.py",
            "tests/mobile_reference/verify/test_held_out.py",
            "tests/models/appraisal/evaluation/test_held_out_faces.py",
        ),
    ),
    Elsewhere(
        "it trains for hours",
        ("mien train",),
        ("tests/models/appraisal/training/test_recipe.py",),
    ),
    Elsewhere(
        "it rates hundreds of drawn faces",
        ("mien evaluate",),
        tuple(
            f"tests/models/appraisal/evaluation/test_{name}.py"
            for name in ("evaluation", "everyday", "human_ratings", "unseen_anomalies")
        ),
    ),
    Elsewhere(
        "it rates every photograph that people rated",
        ("mien fit-score",),
        ("tests/models/appraisal/evaluation/test_fit_score.py",),
    ),
    Elsewhere(
        "it needs another PyTorch than ours, and hours",
        ("uv venv ENV", "uv pip install", "ENV/bin/python"),
    ),
    Elsewhere(
        "it fetches from the network",
        ("mien setup",),
        ("tests/mobile_reference/commands/test_setup.py",),
    ),
    Elsewhere(
        "it needs Apple's packages, which are fetched",
        ("mien coreai",),
        ("tests/export/coreai/test_command.py", "tests/export/coreai/test_apple.py"),
    ),
    Elsewhere(
        "it needs a Vulkan, which is fetched",
        ("mien verify bundle --unit gpu", "mien verify BUNDLE --unit gpu"),
        ("tests/benchmarks/emulation/test_verify_on_gpu.py", "tests/export/own/test_own_pipelines.py"),
    ),
    Elsewhere(
        "it needs an emulated processor, which is fetched",
        ("mien bench BUNDLE --target arm64", "mien bench bundle --target arm64"),
        ("tests/benchmarks/targets/test_bench_arm64.py",),
    ),
    Elsewhere(
        "it needs an emulated processor, which is fetched",
        ("python -m mien.benchmarks.emulation.count",),
        ("tests/benchmarks/emulation/test_bench_count.py",),
    ),
    Elsewhere(
        "it counts the bundle of a whole export",
        ("python -m mien.benchmarks.experiments.baseline",),
        ("tests/benchmarks/experiments/test_bench_baseline.py",),
    ),
    Elsewhere(
        "it needs a phone, or its double",
        (
            "mien bench BUNDLE --target android -o",
            "mien bench bundle --target android -o",
        ),
        ("tests/benchmarks/targets/test_bench_android.py",),
    ),
    Elsewhere(
        "it needs a phone, or its double",
        ("mien bench BUNDLE --target android --benchmark-model",),
        ("tests/benchmarks/targets/test_bench_benchmark_model.py",),
    ),
    Elsewhere(
        "it draws a report that a phone left",
        ("mien bench page LIBRARY/report.json",),
        ("tests/benchmarks/reporting/test_bench_page.py",),
    ),
    Elsewhere(
        "it needs a Mac",
        ("./measure.sh", "cd mac-package", "cd phone-package"),
        ("tests/benchmarks/apps/test_bench_apple.py",),
    ),
    Elsewhere("it needs a phone that is connected", ("adb devices", "adb shell rm", "adb logcat")),
    Elsewhere(
        "it reads what a Mac left",
        ("python -m mien.benchmarks.apps.apple_outputs",),
        ("tests/benchmarks/apps/test_bench_apple_outputs.py",),
    ),
    Elsewhere(
        "it installs, or fetches from the network",
        (
            "git clone",
            "pip install ai-edge-litert==1.4.0",
            "python3.13 -m venv",
            "uv python",
            "uv pip compile",
        ),
    ),
    Elsewhere(
        "it writes into this repository, which a test compares with what it would write",
        (
            "python -m tests.cases --write",
            "python -m tests.documents.api --write",
            "python -m tests.documents.evaluation_tables",
            "python -m tests.documents.notebook --write",
            "python -m tests.documents.rooms --write",
        ),
        (
            "tests/test_cases.py",
            "tests/documents/test_api.py",
            "tests/documents/test_evaluation_tables.py",
            "tests/documents/test_notebook.py",
            "tests/documents/test_rooms.py",
        ),
    ),
    Elsewhere(
        "it draws every page in a browser",
        ("python -m tests.documents.page_pictures",),
        ("tests/mobile_reference/report/test_browser.py",),
    ),
    Elsewhere(
        "it runs a whole export under a tracer",
        ("python -m tests.documents.ways export",),
        ("tests/documents/ways/test_ways.py",),
    ),
    Elsewhere(
        "it runs coremltools' own tests for minutes",
        ("python -m tests.mobile_reference.coreml.conformance.run",),
        ("tests/mobile_reference/coreml/test_mil_conformance.py",),
    ),
    Elsewhere(
        "it serves until it is interrupted",
        ("mien serve",),
        ("tests/mobile_reference/serving/test_serve.py",),
    ),
    Elsewhere(
        "it needs a cluster and a store of objects",
        ("mien appraise s3://bucket/shards/",),
        ("tests/cluster/test_cluster.py", "tests/mobile_reference/rating/test_places.py"),
    ),
    Elsewhere(
        "it needs a package of Core ML and what that was made from",
        ("mien coreml run", "mien coreml check"),
        (
            "tests/mobile_reference/coreml/test_mil_check.py",
            "tests/mobile_reference/coreml/test_mil_messages.py",
            "tests/fuzz/targets.py",
        ),
    ),
    Elsewhere(
        "the int8 weights of Core ML are made by a whole export",
        ("mien pack BUNDLE --for ios --variant coreml-int8w",),
        ("tests/mobile_reference/bundle/test_app_bundle.py",),
    ),
    Elsewhere(
        "it installs packages",
        ("pip install .", *(f"pip install '.[{extra}]'" for extra in ("page", "serve", "export", "ray"))),
        ("tests/test_install.py",),
    ),
    Elsewhere(
        "it installs packages of the system",
        ("apt-get install",),
        (".ci/run",),
    ),
    Elsewhere(
        "it is what runs this test",
        ("make setup", "make lint", "make test", "make test-fast", "make docs", "pytest", ".ci/run"),
        (".ci/run",),
    ),
    Elsewhere(
        "it makes an export and all that follows",
        ("make demo",),
        ("tests/benchmarks/reporting/test_bench_summary.py",),
    ),
    Elsewhere("it builds the last commit twice", ("make dist",), ("tests/test_dist.py",)),
    Elsewhere(
        "it makes what ships", ("make small-bundle",), ("tests/models/appraisal/test_small_bundle.py",)
    ),
    Elsewhere(
        "it damages files for a minute or longer",
        (
            "make fuzz",
            "make fuzz-long",
            ".venv/bin/python -m tests.fuzz",
            ".venv/bin/python -m tests.fuzz.sample",
        ),
        ("tests/fuzz/test_targets.py", "tests/fuzz/test_longrun.py"),
    ),
    Elsewhere(
        "it runs tests for hours",
        ("make mutants", ".venv/bin/python -m tests.mutants"),
        ("tests/mutants/test_campaign.py",),
    ),
    Elsewhere(
        "it exports two commits",
        ("make replay", ".venv/bin/python -m tests.replay", "python -m tests.replay"),
        ("tests/replay/test_replay_sides.py",),
    ),
    Elsewhere("it runs a cluster of this machine", ("make test-ray",), ("tests/cluster/test_cluster.py",)),
    Elsewhere(
        "it needs a quiet machine, another checkout or PyTorch, a compiler or data that is fetched, or hours",
        (
            "make other-torch",
            "make speed",
            "make goals",
            "make figures",
            "make test-all",
            "git worktree add",
            "(cd ../mien-before;",
            ".ci/check-swift",
            ".ci/check-image",
            ".ci/check-kotlin",
            ".ci/check-python",
            "python tests/benchmarks/goals.py",
            "python tests/export/int16_activations.py",
            "python -m mien.benchmarks.experiments.early_exit",
            "python -m mien.benchmarks.experiments.figures",
            "python -m mien.benchmarks.experiments.scale",
            "python -m mien.benchmarks.experiments.speed",
            "python -m mien.export.reach",
            "python -m mien.models.appraisal.training.sample_portraits",
            "python -m tests.apart",
            "python -m tests.benchmarks.phone.double.overhead",
            "python -m tests.export.weights.gptq_steps",
            "python -m tests.mobile_reference.coreml.networks",
            "python -m tests.mobile_reference.run.cold_start",
            "python -m tests.mobile_reference.run.throughput",
        ),
    ),
    Elsewhere(
        "it trains for half a minute, and writes its weights into the checkout",
        ("python -m tests.trained",),
        ("tests/trained/test_trained.py",),
    ),
)
"""The first row that has a command says where it is run."""


def row_of(command: str) -> Elsewhere | None:
    """Return the row that has a command, or nothing: then it is run here."""
    return next((row for row in TABLE if row.has(command)), None)
