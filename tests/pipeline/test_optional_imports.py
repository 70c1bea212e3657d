"""The optional packages that do not import by themselves on a fresh machine do so through our small loaders."""

import subprocess
import sys

import pytest

LOADERS = {
    "torchvision beside a CPU torch, its NMS, and what builds on it": """
from pipeline.torchvision_cpu import import_torchvision
torchvision = import_torchvision()
import torch
boxes = torch.tensor([[0, 0, 2, 2.0], [0, 0, 2, 1.9], [5, 5, 6, 6]])
print(torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist())
import timm, transformers
transformers.VitPoseForPoseEstimation
""",
    "pyrealsense2 without a system libusb": """
from capture.realsense_library import import_realsense
print([import_realsense().stream.depth.name])
""",
}
EXPECTED = {
    "torchvision beside a CPU torch, its NMS, and what builds on it": "[1, 2]",
    "pyrealsense2 without a system libusb": "['depth']",
}


@pytest.mark.parametrize("case", LOADERS)
def test_loader(case):
    done = subprocess.run([sys.executable, "-c", LOADERS[case]], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == EXPECTED[case]
