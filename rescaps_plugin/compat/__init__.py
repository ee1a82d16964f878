"""Compatibility of OpenMMLab with current releases of PyTorch and with mmcv-lite, and with older PyTorch.

Also what depends on the machine: the instructions of its processor and the allocator of its C library.
"""
