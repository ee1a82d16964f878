# Point capsule autoencoder that trains in minutes on a CPU: a quarter of the points and primary capsules, an eighth of
# the latent entries.
_base_ = './pointcaps.py'

model = dict(num_points=512, primary_capsules=256, latent_capsules=32, latent_dim=16)
