"""Compare the cost of networks and layers: parameters, multiply-adds, time and memory.

    python tools/benchmark.py rescaps_cifar resnet18 --reference resnet18
    python tools/benchmark.py 'rescaps_cifar(routing="pointwise")' rescaps_cifar+deploy rescaps_cifar+bf16
    python tools/benchmark.py 'ResidualPoseRouting(32)' path/to/file.py:MyLayer --input-size 512 16 16 --input-grad
    python tools/benchmark.py 'ResidualPoseRouting({n})' 'EMRouting({n})' --input-size 17*{n} 8 8 --sweep n=8,16,32
    python tools/benchmark.py --preset deploy
    python tools/benchmark.py rescaps-small_mnist{,+prepack,+deploy+openvino+int8} --accuracy --modes infer
    python tools/benchmark.py configs/rescaps/mnist.py:work_dirs/mnist/epoch_100.pth+prepack+bf16 --accuracy 1000
    python tools/benchmark.py --preset gpu
    python tools/benchmark.py --pipeline icon-rpr_efficientnet-lite0_ecssd
    python tools/benchmark.py --loader configs/rescaps/mnist.py --cfg-options train_dataloader.num_workers=4

A NAME is a model registered in timm, a layer of rescaps_plugin.layers, or a class of a Python file, with any arguments
that it needs; or a trained model, which runs on inputs of its test set's size: the name of a published one, or
CONFIG:CHECKPOINT. Suffixes select the form that it runs in: +deploy, +prepack (the deploy form with weights packed for
the processor), +channels_last, +compile (torch.compile, as one graph), +bf16 and +fp16 (autocast), +tf32 (float32 with
products rounded to TensorFloat-32 on a GPU; off by default), +onnx and +openvino (exported, inference alone),
both with +int8, and +openvino+bf16. --accuracy evaluates trained models in these forms.

Besides times there are speeds, in FLOP/s, and their share of the machine's peak: the speed of a large matrix product
in the same precision.

Candidates that fail or run out of memory are left out, with the reason. Writes benchmark.json and benchmark.md after
every quantity of every round, and benchmark.png if matplotlib is installed.

--loader times the training data loader of a config on its own, in the main process and in workers, and a training step,
and reports which of the two limits training; the last line is the speed of the loader, `N images/s`.

--pipeline times a salient object detector end to end in PyTorch, ONNX Runtime and OpenVINO: the stages of an image of 1
megapixel from file to map and cut-out, and the frames per second of a video.
"""

from collections.abc import Sequence

from rescaps_plugin.analysis.benchmark.arguments import parse_args
from rescaps_plugin.analysis.benchmark.command import run
from rescaps_plugin.cli.arguments import typed_command
from rescaps_plugin.cli.reporting import user_errors


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv, __doc__), typed_command('benchmark', argv))


if __name__ == '__main__':
    main()
