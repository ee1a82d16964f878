default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='auto'),
    # so that PyTorch's safe loading, and with it --resume, can read the checkpoints
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

log_processor = dict(type='LogProcessor', window_size=10, by_epoch=True)
log_level = 'INFO'

# Precision and memory format, set by --amp and --channels-last of tools/train.py and tools/test.py: amp is None,
# 'auto', 'float16' or 'bfloat16'. --compile sets compile = dict(mode=...); other arguments of torch.compile are
# possible.
amp = None
channels_last = False

# On several GPUs, batch normalisation is synchronised.
sync_bn = 'torch'

load_from = None
resume = False

# Runs of the same config are reproducible; set another seed by --seed N.
randomness = dict(seed=0, deterministic=False)
