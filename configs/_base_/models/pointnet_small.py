# PointNet autoencoder with as many entries in its latent code as pointcaps_small.py, and about as many parameters.
model = dict(
    type='PointNetAE',
    num_points=512,
    channels=(64, 128, 256),
    latent_dim=512,
    hidden=(1024, 1024),
    loss=dict(type='ChamferLoss'),
)
