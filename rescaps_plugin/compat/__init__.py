"""Compatibility of OpenMMLab with current releases of PyTorch and with mmcv-lite, and with older PyTorch."""
