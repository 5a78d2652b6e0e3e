"""Runs in the environment coreai: makes Core AI packages and executes them with Apple's runtime for Linux.

It sees nothing of mien. A line of JSON on standard input says what to do, one on standard output that it is
done, or what went wrong. Tensors come and go as ``.npz`` files.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from coreai.authoring.asset import AIModelAsset
from coreai.runtime import NDArray
from coreai_torch import TorchConverter, get_decomp_table


def convert(ask: Mapping[str, Any]) -> None:
    """Make a package of an exported program."""
    program = torch.export.load(ask["program"]).run_decompositions(get_decomp_table())
    converter = TorchConverter().add_exported_program(
        program, input_names=ask["inputs"], output_names=ask["outputs"]
    )
    converter.to_coreai().save_asset(Path(ask["package"]))


async def run(ask: Mapping[str, Any], loaded: dict[str, Any], stack: AsyncExitStack) -> None:
    """Execute a package once."""
    if ask["package"] not in loaded:
        asset = AIModelAsset.load(Path(ask["package"]))
        model = await stack.enter_async_context(asset.executable())
        loaded[ask["package"]] = model.load_function("main")
    with np.load(ask["given"]) as given:
        inputs = {name: NDArray(np.ascontiguousarray(given[name])) for name in given.files}
    made = await loaded[ask["package"]](inputs)
    np.savez(ask["made"], **{name: array.numpy() for name, array in made.items()})


async def main(answers: TextIO) -> None:
    """Do what is asked until nobody asks any more."""
    torch.set_num_threads(1)
    loaded: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        for line in sys.stdin:
            ask, fault = json.loads(line), ""
            try:
                if "program" in ask:
                    convert(ask)
                else:
                    await run(ask, loaded, stack)
            except Exception as error:  # whatever a converter raises
                fault = f"{type(error).__name__}: {error}"
            answers.write(json.dumps({"fault": fault}) + "\n")
            answers.flush()


if __name__ == "__main__":
    # Apple's runtime writes to standard output too.
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(main(kept))
