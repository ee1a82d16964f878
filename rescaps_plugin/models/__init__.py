"""Networks in timm's style, registered in timm."""

from rescaps_plugin.models.capsnet import CapsNet
from rescaps_plugin.models.convert import convert_to_rpr
from rescaps_plugin.models.rescaps import CapsuleClassifier, ResCaps, ResCapsTrunk
from rescaps_plugin.models.resnet_cifar import ResNetCifar
from rescaps_plugin.models.routed_caps import RoutedCaps

__all__ = ['CapsNet', 'CapsuleClassifier', 'ResCaps', 'ResCapsTrunk', 'ResNetCifar', 'RoutedCaps', 'convert_to_rpr']
