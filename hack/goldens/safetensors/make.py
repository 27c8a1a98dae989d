"""Writes runtime/checkpoint/testdata/reference.safetensors with the safetensors library.

    pip install safetensors==0.8.0 numpy
    python hack/goldens/safetensors/make.py

The Go tests read it and must write the same bytes.
"""

import pathlib

import numpy as np
from safetensors.numpy import save_file

out = pathlib.Path(__file__).parents[3] / "runtime/checkpoint/testdata/reference.safetensors"
save_file(
    {
        "model.norm.weight": np.array([1, -2, 0.5], np.float32),
        "model.embed.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.array([[1.5], [-0.25]], np.float16),
        "bytes": np.array([1, 2, 255], np.uint8),
        "wide": np.array([1 / 3], np.float64),
        "step": np.array(-7, np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "näme <&>": np.array([True, False], np.bool_),
    },
    out,
    metadata={"format": "pt"},
)
