"""A preset of a few thousand weights over `radar_sessions`' coarse maps, for tests that train."""

from models.config import AugmentConfig, ClipConfig, EncoderConfig, MaskedConfig, PoseConfig, TrainConfig
from models.presets import Preset

ENCODER = EncoderConfig(patch=(2, 8, 8), dim=16, depth=2, heads=2)
CLIP = ClipConfig(frames=4, targets=(1, 3), range_bins=16, doppler_bins=16, azimuth_bins=16)
POSE = PoseConfig(encoder=ENCODER, head="mlp", heatmap_cells=8, sigma_cells=1, width=8)
TRAINING = TrainConfig(epochs=3, batch=4, rate=1e-3, patience=None, augment=AugmentConfig(noise_db=1.0))
SMALL = Preset(
    clip=CLIP,
    masked=MaskedConfig(encoder=ENCODER, decoder_dim=16, decoder_depth=1, decoder_heads=2, mask_ratio=0.5),
    pose=POSE,
    pretraining=TRAINING,
    finetuning=TRAINING,
)
