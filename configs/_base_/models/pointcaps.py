# Point capsule autoencoder of the paper: 2048 points, 1024 primary capsules of 16, 64 latent capsules of 64.
model = dict(
    type='PointCapsAE',
    num_points=2048,
    primary_capsules=1024,
    primary_dim=16,
    latent_capsules=64,
    latent_dim=64,
    routing='rpr',
    loss=dict(type='ChamferLoss'),
)
