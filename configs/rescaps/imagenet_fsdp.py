# ResCaps on ImageNet-1k with its weights, gradients and optimizer state sharded over the processes (FSDP); each block
# of a million parameters and more is a shard of its own. tools/dist_train.sh starts it, on GPUs or CPU processes.
_base_ = './imagenet.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy=dict(type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy', min_num_params=10**6)
    ),
    # Checkpoints are those of one process.
    state_dict_cfg='full',
)
