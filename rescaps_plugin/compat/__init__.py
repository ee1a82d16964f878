"""Compatibility of OpenMMLab's libraries with current releases of PyTorch and with mmcv-lite."""
