# ResCaps on ImageNet-1k with its weights, gradients and optimizer state sharded over the processes (FSDP); blocks of
# a million parameters or more are separate shards. Start it by tools/dist_train.sh, on GPUs or CPU processes.
_base_ = './imagenet.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy=dict(type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy', min_num_params=10**6)
    ),
    # Checkpoints have the form of a single process.
    state_dict_cfg='full',
)
