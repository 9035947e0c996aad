"""Policies as ONNX files, for controllers that run no PyTorch.

Needs the package onnx, which is imported when a policy is exported.
"""

from metarobot.onnx_export.export import export_onnx, onnx_bytes

__all__ = ["export_onnx", "onnx_bytes"]
