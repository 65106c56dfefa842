# SPDX-License-Identifier: GPL-2.0-only
"""A volatility3 layer for every address space of an image, without a symbol table.

python volatility3_spaces.py ram.raw
"""

from __future__ import annotations

import sys
from pathlib import Path

from volatility3.framework import contexts
from volatility3.framework.layers import intel, physical

import pgtable


def layers_of(path: str) -> tuple[contexts.Context, list[str]]:
    """Return a context and the names of its layers, one a space; raw memory only."""
    context = contexts.Context()
    context.config["file.location"] = Path(path).resolve().as_uri()
    context.layers.add_layer(physical.FileLayer(context, "file", "memory"))
    names = []
    with pgtable.open_image(path, format="raw") as image:
        for space in image.spaces():
            if space.levels != 4:
                continue  # Intel32e walks four
            name = f"space_{space.root:x}"
            context.config[f"{name}.memory_layer"] = "memory"
            # what user mode sees: with page-table isolation that is its own copy
            context.config[f"{name}.page_map_offset"] = space.user_root or space.root
            context.layers.add_layer(intel.Intel32e(context, name, name))
            names.append(name)
    return context, names


if __name__ == "__main__":
    made, found = layers_of(sys.argv[1])
    for layer in found:
        print(layer, hex(made.config[f"{layer}.page_map_offset"]))
